"""Position channels of PortraitFCN+: where a pixel is, relative to the face and in its units.

Shen et al., "Automatic Portrait Segmentation for Image Stylization" (2016) warp two ramps by an
affine map.  Warped ramps are ramps: six numbers a portrait say all of them, and no border is in
the way.
"""

from __future__ import annotations

import numpy as np

#: x and y are 0 at the face and reach about 0.5 at the border of a portrait: times this they
#: are of the order of mean-subtracted colors.
POSITION_SCALE = 128.0


def position_channels(maps: np.ndarray, shape: tuple[int, int], reduction: int) -> np.ndarray:
    """Ramps of x and y over reduced portraits.

    Parameters
    ----------
    maps : (N, 6) array_like
        The two rows of an affine map from pixels (x, y, 1) of the portrait to positions;
        zeros where no face was found.
    shape : (int, int)
        Size (H, W) of the reduced portrait.
    reduction : int
        Pixels of the portrait, in both directions, of which each of these is the mean.

    Returns
    -------
    (N, 2, H, W) float32 ndarray
        Positions times `POSITION_SCALE`.
    """
    maps = np.asarray(maps, np.float64).reshape(-1, 2, 3)
    # Pixel centers are at whole numbers, so those of a portrait begin at -0.5.
    y, x = ((np.arange(side) + 0.5) * reduction - 0.5 for side in shape)
    by_x, by_y, constant = (maps[:, :, k, None, None] for k in range(3))
    ramps = by_x * x + by_y * y[:, None] + constant
    return (POSITION_SCALE * ramps).astype(np.float32)
