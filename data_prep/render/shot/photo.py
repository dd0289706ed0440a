"""From a rendered foreground to the files of a portrait, and onto other backgrounds.

images/NAME.jpg        the photo
mattes/NAME.png        coverage of the foreground
foregrounds/NAME.png   its colors, not premultiplied, and the coverage again
meta/NAME.json         every choice, and the landmarks
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from data_prep.common.images import compressed, write_image
from data_prep.datasets.foregrounds import read_foreground_pixels
from data_prep.render.people.body import BaseMesh
from data_prep.render.shot.background import BackgroundChoice, render_background
from data_prep.render.shot.compositing import (
    DevelopChoice,
    camera_effects,
    composite,
    develop_background,
    exposure,
    quantized,
    tone_mapped,
    unpremultiplied,
)

# Pixels outside of the matte up to which foreground colors are written.
COLOR_MARGIN = 4


@dataclass(frozen=True, eq=False)
class Developed:
    """A foreground as it is delivered.

    Attributes
    ----------
    colors : (H, W, 3) uint8 ndarray
        Display RGB, not premultiplied; 0 away from the foreground.
    matte : (H, W) uint8 or uint16 ndarray
    """

    colors: np.ndarray
    matte: np.ndarray

    @property
    def hair_color(self) -> np.ndarray:
        """Mean display RGB, (3,) in [0, 1], of the fractional pixels: mostly hair."""
        largest = np.iinfo(self.matte.dtype).max
        fractional = (self.matte > 0) & (self.matte < largest)
        alpha = self.matte[fractional] / largest
        weight = alpha * (1 - alpha)
        total = max(float(weight.sum()), 1e-6)
        return (self.colors[fractional] * weight[:, None]).sum(axis=0) / total / 255


def develop(
    color: np.ndarray,
    coverage: np.ndarray,
    face: tuple[float, float, float],
    skin_tone: float,
    choice: DevelopChoice,
    bits: int = 8,
) -> Developed:
    """Expose and develop a rendered foreground.

    Parameters
    ----------
    color : (H, W, 4) float32 ndarray
        Premultiplied linear RGB and its own coverage.
    coverage : (H, W) float32 ndarray
        The matte.
    face : (x, y, radius)
        What is exposed for, pixels.
    skin_tone : float
    bits : int
        Bits of the matte: 8 or 16.
    """
    light = unpremultiplied(color[:, :, :3], color[:, :, 3])
    gain = exposure(light, coverage, face, skin_tone, choice.brightness)
    matte = quantized(coverage, bits)
    side = 2 * COLOR_MARGIN + 1
    near = cv2.dilate((matte > 0).astype(np.uint8), np.ones((side, side), np.uint8))
    colors = quantized(tone_mapped(light, gain, choice)) * near[..., None]
    return Developed(colors, matte)


def take_photo(
    foreground: Developed,
    background: BackgroundChoice,
    development: DevelopChoice,
    mesh: BaseMesh,
) -> np.ndarray:
    """Composite a foreground over a background and add what a camera adds.

    Returns
    -------
    (H, W, 3) uint8 ndarray
        RGB.
    """
    painted = render_background(background, foreground.matte.shape, foreground.hair_color, mesh)
    behind = quantized(develop_background(painted, development))
    return camera_effects(composite(foreground.colors, behind, foreground.matte), development)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    """Gray, BGR or BGRA of 8 or 16 bits."""
    with atomic_write(path) as scratch:
        scratch.write_bytes(compressed(pixels, ".png"))


def write_foreground(path: Path, foreground: Developed) -> None:
    """Colors and matte in one PNG, 16 bits a channel if the matte has them."""
    colors = foreground.colors[:, :, ::-1]
    if foreground.matte.dtype == np.uint16:
        colors = colors.astype(np.uint16) * 257
    _write_png(path, np.dstack([colors, foreground.matte]))


def read_foreground(path: Path) -> Developed:
    """What `write_foreground` wrote.

    Raises
    ------
    InputError
        If the file is missing or no such picture.
    """
    pixels = read_foreground_pixels(path)
    colors = pixels[:, :, 2::-1]
    if pixels.dtype == np.uint16:
        colors = (colors // 257).astype(np.uint8)
    return Developed(np.ascontiguousarray(colors), np.ascontiguousarray(pixels[:, :, 3]))


def write_photo(
    out: Path, stem: str, photo: np.ndarray, matte: np.ndarray, meta: dict, suffix: str
) -> list[str]:
    """Write a photo, its matte and what is known of it; their names in `out`."""
    names = [f"images/{stem}{suffix}", f"mattes/{stem}.png", f"meta/{stem}.json"]
    write_image(out / names[0], np.ascontiguousarray(photo[:, :, ::-1]))
    _write_png(out / names[1], matte)
    with atomic_write(out / names[2]) as scratch:
        scratch.write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return names


def read_meta(out: Path, stem: str) -> dict:
    """What is known of a photo.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    path = out / "meta" / f"{stem}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path} is missing or damaged; render the portrait again.") from None


def file_digests(out: Path, names: list[str]) -> dict[str, str]:
    """sha256 of files by their names in `out`."""
    return {name: sha256_of(out / name) for name in names}
