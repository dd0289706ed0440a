"""Size and samples of a render."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep.datasets.dataset import FRAME


@dataclass(frozen=True)
class Quality:
    """What a render costs.

    Attributes
    ----------
    scale : float
        Factor by which the frame of 600 x 800 is reduced or enlarged.
    color_samples : int
        Samples of the color pass at each pixel.
    lens_positions : int
        Positions on the lens for the matte; each brings 32 samples a pixel.
    """

    scale: float = 1.0
    color_samples: int = 8
    lens_positions: int = 64

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (H, W) of the photo, in pixels."""
        height, width = FRAME
        return round(height * self.scale), round(width * self.scale)
