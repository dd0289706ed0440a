"""The order of the 68 facial landmarks: iBUG's, which dlib's model follows.

Left and right are the person's own.  Detectors, whose libraries not everybody has, are elsewhere.
"""

from __future__ import annotations

import numpy as np

LANDMARK_COUNT = 68
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)

#: The landmark that each one becomes in a mirrored photo: outline, brows, nose, eyes, mouth.
MIRRORED = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
)
