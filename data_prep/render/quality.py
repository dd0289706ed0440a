"""Size and samples of a render."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep.render.camera import FRAME


@dataclass(frozen=True)
class Quality:
    """What a render costs.

    Attributes
    ----------
    scale : float
        Of the frame of 600 x 800.
    color_samples : int
        A pixel, of the color pass.
    matte_samples : int
        Most samples a pixel of the matte.
    matte_least : int
        Samples after which a pixel that is all foreground or all background,
        and whose neighbors are, is finished.
    """

    scale: float = 1.0
    color_samples: int = 12
    matte_samples: int = 576
    matte_least: int = 8

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return round(FRAME[0] * self.scale), round(FRAME[1] * self.scale)
