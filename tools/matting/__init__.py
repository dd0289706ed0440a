"""From a photo to its matte."""
