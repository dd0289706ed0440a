"""Errors of mattes, methods that are compared, and reports."""
