"""Rendered people before photographs of the world: training portraits beyond the studio."""
