"""Vectors, meshes, noise, colors and Blender helpers that know no person."""
