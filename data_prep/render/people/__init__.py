"""Bodies, faces, skin and hands."""
