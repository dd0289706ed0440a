"""Sheets that show what a matte does to a photo, on one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep.common.pictures import eight_bits
from tools.outputs.effects import EFFECTS, Effect, composite, from_float

TRIMAP_GRAYS = np.array([255, 0, 128], dtype=np.uint8)  # foreground, background, unknown


SHEET_HEIGHT = 800
CHECKER_SIDE = 16
CHECKER_GRAYS = (205, 245)
GAP = 8
GREEN = (80, 160, 80)  # behind people, where a lost arm or a gray body is easily seen

TILE_PIXELS = 384 * 384
TILES_ACROSS = 5
CAPTION_HEIGHT = 22


def checkerboard(shape: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 gray squares, which say "transparent" in every image program."""
    rows, columns = (np.arange(length) // CHECKER_SIDE for length in shape)
    odd = (rows[:, None] + columns[None, :]) % 2
    return np.repeat(np.uint8(np.choose(odd, CHECKER_GRAYS))[:, :, None], 3, axis=2)


def shrink(
    photo: np.ndarray, alpha: np.ndarray, foreground: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reduce a photo, its matte and its foreground, with 8 bits.

    Colors of the foreground are averaged premultiplied: where alpha is 0 they
    mean nothing.

    Parameters
    ----------
    photo, foreground : (H, W, 3) uint8 or uint16 ndarray
    alpha : (H, W) ndarray
        In [0, 1].
    scale : float
        At 1 or more, only the depth is reduced.

    Returns
    -------
    photo : (h, w, 3) uint8 ndarray
    alpha : (h, w) float32 ndarray
    foreground : (h, w, 3) uint8 ndarray
    """
    opacity = np.float32(alpha)
    # Large photos are not converted as a whole.
    premultiplied = np.multiply(foreground, opacity[:, :, None], dtype=np.float32)
    layers = photo, opacity, premultiplied
    if scale < 1:
        size_wh = tuple(max(1, round(side * scale)) for side in photo.shape[1::-1])
        layers = [cv2.resize(layer, size_wh, interpolation=cv2.INTER_AREA) for layer in layers]
    small, opacity, premultiplied = layers
    colors = premultiplied / np.maximum(opacity, np.float32(1e-6))[:, :, None]
    colors /= np.iinfo(foreground.dtype).max
    return eight_bits(small), opacity, from_float(colors, np.uint8)


def before_after(photo: np.ndarray, alpha: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Photo, cut-out over a checkerboard and matte, side by side.

    Parameters
    ----------
    photo, alpha, foreground
        See `shrink`.

    Returns
    -------
    (h, w, 3) uint8 ndarray
        BGR, at most `SHEET_HEIGHT` high.
    """
    photo, alpha, foreground = shrink(photo, alpha, foreground, SHEET_HEIGHT / photo.shape[0])
    after = composite(foreground, alpha, checkerboard(alpha.shape))
    gap = np.full((len(photo), GAP, 3), 255, np.uint8)
    return np.hstack([photo, gap, after, gap, _matte_image(alpha)])


def effects_sheet(
    photo: np.ndarray,
    alpha: np.ndarray,
    foreground: np.ndarray,
    effects: Mapping[str, Effect] = EFFECTS,
) -> np.ndarray:
    """Photo, matte, cut-out and every effect, each with its name.

    Parameters
    ----------
    photo, alpha, foreground
        See `shrink`.
    effects : mapping of str to Effect

    Returns
    -------
    (h, w, 3) uint8 ndarray
        BGR.
    """
    scale = np.sqrt(TILE_PIXELS / alpha.size)
    photo, alpha, foreground = shrink(photo, alpha, foreground, scale)
    tiles = {
        "photo": photo,
        "matte": _matte_image(alpha),
        "cut-out": composite(foreground, alpha, checkerboard(alpha.shape)),
    }
    for name, effect in effects.items():
        tiles[name] = effect.apply(photo, alpha, foreground)
    return captioned(list(tiles.items()), TILES_ACROSS)


def captioned(tiles: Sequence[tuple[str, np.ndarray]], across: int) -> np.ndarray:
    """Pictures of one size with their names above them, in rows.

    Parameters
    ----------
    tiles : sequence of (str, (H, W, 3) uint8 ndarray)
        At least one.
    across : int
        Largest number in a row.

    Returns
    -------
    (h, w, 3) uint8 ndarray
        BGR.
    """
    height, width = tiles[0][1].shape[:2]
    down, right = height + CAPTION_HEIGHT + GAP, width + GAP
    rows = -(-len(tiles) // across)
    columns = min(len(tiles), across)
    sheet = Image.new("RGB", (columns * right + GAP, rows * down + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=CAPTION_HEIGHT * 0.7)
    for number, (name, tile) in enumerate(tiles):
        left, top = GAP + number % across * right, GAP + number // across * down
        draw.text((left, top), name, "black", font)
        sheet.paste(Image.fromarray(tile[:, :, ::-1].copy()), (left, top + CAPTION_HEIGHT))
    return cv2.cvtColor(np.asarray(sheet), cv2.COLOR_RGB2BGR)


def stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures of different widths below one another, on white."""
    width = max(row.shape[1] for row in rows)
    right = [((0, 0), (0, width - row.shape[1]), (0, 0)) for row in rows]
    return np.vstack([np.pad(row, edge, constant_values=255) for row, edge in zip(rows, right)])


def paragraph(text: str, width: int) -> np.ndarray:
    """Text on white, in lines of at most so many pixels.

    Parameters
    ----------
    text : str
    width : int
        Of the picture; a longer word is cut off.

    Returns
    -------
    (h, width, 3) uint8 ndarray
    """
    font = ImageFont.load_default(size=CAPTION_HEIGHT * 0.7)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - 2 * GAP:
            lines.append(word)
        else:
            lines[-1] = longer
    picture = Image.new("RGB", (width, len(lines) * CAPTION_HEIGHT + GAP), "white")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((GAP, GAP + number * CAPTION_HEIGHT), line, "black", font)
    return np.array(picture)


def _matte_image(alpha: np.ndarray) -> np.ndarray:
    return np.repeat(from_float(alpha, np.uint8)[:, :, None], 3, axis=2)


def render_trimap(probabilities: np.ndarray) -> np.ndarray:
    """Trimap picture of a probability map.

    Parameters
    ----------
    probabilities : (3, H, W) array
        Foreground, background, unknown.

    Returns
    -------
    (H, W) uint8 array
        255, 0 or 128: the most probable channel of each pixel.
    """
    return TRIMAP_GRAYS[np.argmax(probabilities, axis=0)]
