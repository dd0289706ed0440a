"""From a person to a photo: pose, camera, light, background, rendering, development."""
