"""What is behind the subject: walls, places, lights, leaves, people; no Blender.

Three things make a matte hard and are drawn on purpose: a background of the
color of the hair (`resembles_hair`), sharp texture behind it (`blur` 0), and
other people-like shapes (`bystanders`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.common.srgb import to_display, to_linear
from data_prep.render.base.assets import (
    ENVIRONMENT_MAPS,
    TEXTURES,
    read_environment_map,
    read_texture,
)
from data_prep.render.base.colors import linear_color, luminance
from data_prep.render.base.randomness import pick
from data_prep.render.people.body import BaseMesh
from data_prep.render.shot import bystanders
from data_prep.render.shot.light import LightChoice

KINDS = {
    "place": 0.24,  # an environment map
    "paper": 0.16,  # a studio's
    "wall": 0.12,
    "texture": 0.08,
    "foliage": 0.10,
    "lights": 0.09,  # far lamps out of focus
    "room": 0.09,  # furniture-like blocks
    "window": 0.05,
    "sky": 0.07,
}
#: Kinds that go with a kind of light, more than the others.
FITTING = {
    "studio": {"paper": 3.0, "wall": 1.5},
    "window": {"window": 3.0, "room": 2.5, "wall": 2.0},
    "shade": {"foliage": 2.0, "place": 1.5, "texture": 1.5},
    "sun": {"sky": 2.5, "foliage": 2.0, "place": 1.5},
    "against the light": {"sky": 2.0, "foliage": 1.5, "window": 2.0},
    "evening": {"lights": 4.0, "place": 1.2, "room": 1.2},
}
RESEMBLING_SHARE = 0.14
BYSTANDER_SHARE = 0.14
SHARP_SHARE = 0.22

PALETTE = (
    "e9e6df",
    "d8d2c4",
    "b9b2a5",
    "8d8a86",
    "5d6063",
    "2f3236",
    "17181a",
    "a8b7bd",
    "6f8797",
    "41566a",
    "27354a",
    "7d8f78",
    "4f6350",
    "2c3d2f",
    "c9a98a",
    "a07a58",
    "6e4e37",
    "3f2c20",
    "c98d7a",
    "9d5a4c",
    "6c2f2c",
    "d9b95f",
    "b98e3a",
    "8a6f9a",
    "54456b",
    "cfc0cf",
    "e6cfc4",
)
LAMP_COLORS = (  # sRGB; most lamps are warm
    "ffd9a0",
    "ffb45e",
    "ffc98a",
    "fff1d6",
    "ffe3b8",
    "ffd9a0",
    "9fc4ff",
    "ff6a4d",
    "7dffb0",
)


@dataclass(frozen=True)
class BackgroundChoice:
    """A background.

    Attributes
    ----------
    kind : str
        Key of `KINDS`.
    detail : str
        Which environment map or texture, where the kind has several.
    colors : (3,) tuple of str
        sRGB codes.
    level : float
        Median luminance on the display, 0 to 1.
    blur : float
        Radius of what is out of focus, in heights of the frame; 0 is sharp.
    resembles_hair : bool
        Colored as the hair before it.
    bystanders : int
        Other people.
    seed : int
        Seed of everything finer.
    """

    kind: str
    detail: str
    colors: tuple[str, str, str]
    level: float
    blur: float
    resembles_hair: bool
    bystanders: int
    seed: int


def choose_background(rng: np.random.Generator, light: LightChoice) -> BackgroundChoice:
    """Draw a background that may go with a light."""
    shares = {name: share * FITTING[light.kind].get(name, 1.0) for name, share in KINDS.items()}
    kind = pick(rng, shares)
    detail = ""
    if kind == "place":
        shown = [name for name, each in ENVIRONMENT_MAPS.items() if each.as_background]
        same = light.environment in shown and rng.random() < 0.5
        detail = light.environment if same else str(rng.choice(shown))
    elif kind == "texture":
        detail = str(rng.choice(TEXTURES))
    sharp = rng.random() < SHARP_SHARE
    dark = light.kind == "evening" or kind == "lights"
    return BackgroundChoice(
        kind=kind,
        detail=detail,
        colors=tuple(str(code) for code in rng.choice(PALETTE, 3, replace=False)),
        level=float(rng.uniform(0.06, 0.3) if dark else rng.uniform(0.15, 0.8)),
        blur=0.0 if sharp else float(rng.uniform(0.004, 0.03)),
        resembles_hair=bool(rng.random() < RESEMBLING_SHARE),
        bystanders=int(rng.integers(1, 4)) if rng.random() < BYSTANDER_SHARE else 0,
        seed=int(rng.integers(2**31)),
    )


# --- parts ----------------------------------------------------------------------


def _noise(
    rng: np.random.Generator, shape: tuple[int, int], period: float, stretch: float = 1.0
) -> np.ndarray:
    """Smooth noise of about unit variance.

    Parameters
    ----------
    shape : (H, W)
    period : float
        Distance between its blobs, in heights.
    stretch : float, default 1
        Height of the blobs against their width.
    """
    height, width = shape
    columns = max(2, math.ceil(width / height / period)) + 3
    rows = max(2, math.ceil(1 / period / stretch)) + 3
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    fine = cv2.resize(
        coarse,
        (math.ceil(columns * period * height), math.ceil(rows * period * stretch * height)),
        interpolation=cv2.INTER_CUBIC,
    )
    top, left = (int(rng.integers(n + 1)) for n in np.array(fine.shape) - (height, width))
    return 1.3 * fine[top : top + height, left : left + width]


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x and y of all pixels in heights, (1, W) and (H, 1)."""
    height, width = shape
    return np.arange(width)[None] / height, np.arange(height)[:, None] / height


def _mixed(share: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)[..., None].astype(np.float32)
    return (1 - share) * first + share * second


def _out_of_focus(image: np.ndarray, radius: float) -> np.ndarray:
    """Convolution with a disk of a radius in pixels, as a wide aperture does."""
    if radius < 0.7:
        return image
    # Large disks at half the size: nobody sees the difference, and it costs a quarter.
    if radius > 8:
        height, width = image.shape[:2]
        half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return cv2.resize(_out_of_focus(half, radius / 2), (width, height))
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, disk / disk.sum(), borderType=cv2.BORDER_REFLECT)


# --- kinds: (rng, shape, colors, detail, blur in pixels) -> (H, W, 3) linear, not leveled ---


def _paper(rng, shape, colors, detail, blur):
    x, y = _grid(shape)
    spot = ((x - rng.uniform(0.15, 0.6)) ** 2 + (y - rng.uniform(0.2, 0.6)) ** 2) / rng.uniform(
        0.1, 0.5
    )
    glow = np.exp(-spot) * rng.uniform(0.4, 1.6) + rng.uniform(0.3, 0.8)
    return glow[..., None] * colors[0] * (1 + 0.012 * _noise(rng, shape, 0.02))[..., None]


def _wall(rng, shape, colors, detail, blur):
    x, y = _grid(shape)
    grain = 0.05 * _noise(rng, shape, 0.004) + 0.06 * _noise(rng, shape, 0.03)
    stains = 0.10 * _noise(rng, shape, 0.2) + 0.4 * (
        rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y
    )
    wall = colors[0] * np.exp(grain + stains)[..., None]
    if rng.random() < 0.35:  # boards or panels
        width = rng.uniform(0.06, 0.2)
        place = (x + 0 * y) if rng.random() < 0.7 else (y + 0 * x)
        edge = np.abs((place / width + rng.random()) % 1 - 0.5) * width
        wall = wall * (1 - 0.5 * np.exp(-((edge / 0.004) ** 2)))[..., None]
    return _out_of_focus(wall.astype(np.float32), blur)


def _texture(rng, shape, colors, detail, blur):
    height, width = shape
    side = round(height * rng.uniform(1.0, 1.5))
    gray = cv2.resize(read_texture(detail), (side, side), interpolation=cv2.INTER_AREA)
    left, top = int(rng.integers(side - width + 1)), int(rng.integers(side - height + 1))
    light = to_linear(gray[top : top + height, left : left + width])
    if detail == "grass":
        colors = [linear_color("5d7a35"), *colors[1:]]
    tint = _mixed(0.5 + 0.3 * _noise(rng, shape, 0.3), colors[0], 0.5 * (colors[0] + colors[1]))
    return _out_of_focus((light[..., None] * tint).astype(np.float32), blur)


def _foliage(rng, shape, colors, detail, blur):
    leaves = sum(
        weight * _noise(rng, shape, period)
        for period, weight in ((0.006, 0.5), (0.015, 0.6), (0.04, 0.6), (0.15, 0.6))
    )
    green = linear_color(str(rng.choice(["3c5a24", "56702e", "2f4a2a", "7a8a3a", "8a6a2a"])))
    dark_to_light = green * np.exp(0.6 * leaves)[..., None]
    gaps = np.clip((leaves - rng.uniform(1.2, 2.4)) / 0.3, 0, 1)
    sky = linear_color("dfe8e0") * 1.6
    return _out_of_focus(_mixed(gaps, dark_to_light, sky).astype(np.float32), max(blur, 1))


def _lights(rng, shape, colors, detail, blur):
    height, width = shape
    dusk = 0.5 + 0.25 * _noise(rng, shape, 0.4)
    base = _mixed(dusk, 0.25 * colors[0] + 0.02, 0.08 * colors[1] + 0.01)
    points = np.zeros((height, width, 3), np.float32)
    radius = max(blur, 0.008 * height)
    for _ in range(int(rng.integers(25, 120))):
        row = int(height * np.clip(rng.normal(rng.choice([0.35, 0.55]), 0.18), 0, 0.999))
        brightness = math.pi * radius**2 * math.exp(rng.normal(-0.6, 0.9))
        points[row, rng.integers(width)] += brightness * linear_color(str(rng.choice(LAMP_COLORS)))
    return (base + _out_of_focus(points, radius)).astype(np.float32)


def _room(rng, shape, colors, detail, blur):
    height, width = shape
    x, y = _grid(shape)
    room = _mixed(y + 0 * x + 0.2 * _noise(rng, shape, 0.5), colors[0], 0.6 * colors[0])
    room = np.ascontiguousarray(room, dtype=np.float32)
    for _ in range(int(rng.integers(12, 40))):
        code = PALETTE[int(rng.integers(len(PALETTE)))]
        color = tuple(float(c) for c in linear_color(code) * rng.uniform(0.3, 1.2))
        left, top = int(rng.uniform(-0.1, 0.75) * height), int(rng.uniform(-0.1, 1) * height)
        wide, high = rng.uniform(0.02, 0.25) * height, rng.uniform(0.03, 0.5) * height
        cv2.rectangle(room, (left, top), (int(left + wide), int(top + high)), color, -1)
    if rng.random() < 0.5:  # a lamp
        center = (int(rng.uniform(0, 1) * width), int(rng.uniform(0.05, 0.5) * height))
        cv2.circle(room, center, int(rng.uniform(0.02, 0.06) * height), (3.0, 2.4, 1.6), -1)
    return _out_of_focus(room, max(blur, 0.004 * height))


def _window(rng, shape, colors, detail, blur):
    height, width = shape
    window = np.ones((height, width, 3), np.float32) * (0.15 * colors[0]).astype(np.float32)
    pane_width, pane_height = rng.uniform(0.18, 0.4), rng.uniform(0.25, 0.6)
    bar = rng.uniform(0.012, 0.04)
    outside = _mixed(0.5 + 0.5 * _noise(rng, shape, 0.2), linear_color("dfe9f2"), colors[1])
    x, y = _grid(shape)
    glass = ((x + rng.random()) % pane_width > bar) & ((y + rng.random()) % pane_height > bar)
    left = rng.uniform(-0.2, 0.35)
    glass &= (x > left) & (x < left + rng.uniform(0.35, 0.8))
    window[glass] = 2 * outside[glass]
    return _out_of_focus(window, max(blur, 0.002 * height))


def _sky(rng, shape, colors, detail, blur):
    _, y = _grid(shape)
    blue = linear_color(str(rng.choice(["6f9fd0", "9dbbd8", "c9d5de", "e7c7a4", "8593a6"])))
    clouds = 0.6 * _noise(rng, shape, 0.3, 0.5) + 0.3 * _noise(rng, shape, 0.1, 0.6)
    clouds += 0.15 * _noise(rng, shape, 0.03, 0.7)
    sky = _mixed(
        0.7 * (clouds - rng.uniform(-0.3, 1.0)), blue * (0.8 + 0.5 * y)[..., None], np.ones(3)
    )
    horizon = rng.uniform(0.55, 1.4) + 0.03 * _noise(rng, shape, 0.15)
    land = np.clip((y - horizon) / 0.02, 0, 1)
    ground = 0.5 * colors[2] * np.exp(0.3 * _noise(rng, shape, 0.05, 0.4))[..., None]
    return _out_of_focus(_mixed(land, sky, ground).astype(np.float32), max(blur, 1))


def _place(rng, shape, colors, detail, blur):
    height, width = shape
    pixels = np.minimum(read_environment_map(detail), 30.0)
    tall = math.tan(rng.uniform(0.3, 0.6))  # half the field of view
    x, y = _grid(shape)
    x, y = (2 * x - width / height) * tall, (1 - 2 * y) * tall + rng.uniform(-0.1, 0.25)
    longitude = np.arctan2(x, np.ones_like(y)) + 0 * y + rng.uniform(0, 2 * math.pi)
    latitude = np.arctan2(y, np.hypot(x, 1))
    rows, columns = pixels.shape[:2]
    column = (longitude / (2 * math.pi) % 1 * columns).astype(np.float32)
    row = ((0.5 - latitude / math.pi) * rows - 0.5).astype(np.float32)
    view = cv2.remap(pixels, column, row, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    # The maps have about 3 pixels a degree: never quite sharp at this size.
    return _out_of_focus(np.maximum(view, 0), max(blur, 0.003 * height))


_RENDER = {
    "place": _place,
    "paper": _paper,
    "wall": _wall,
    "texture": _texture,
    "foliage": _foliage,
    "lights": _lights,
    "room": _room,
    "window": _window,
    "sky": _sky,
}


def _leveled(linear: np.ndarray, level: float) -> np.ndarray:
    """Display colors with the median luminance at `level` and soft highlights."""
    linear = np.asarray(linear, dtype=np.float32)
    gain = float(to_linear(level)) / max(float(np.median(luminance(linear))), 1e-4)
    light = np.maximum(linear, 0) * min(gain, 50.0)
    # Straight up to 0.6, then toward 1 without reaching it.
    soft = np.where(light < 0.6, light, 1 - 0.4 * np.exp(-(light - 0.6) / 0.4))
    return to_display(soft).astype(np.float32)


def _like_hair(
    rng: np.random.Generator, display: np.ndarray, hair_color: np.ndarray, blur: float
) -> np.ndarray:
    """The same picture in the color of hair; at times with strand-like streaks."""
    height, width = display.shape[:2]
    gray = luminance(to_linear(display))
    contrast = (gray / max(float(np.median(gray)), 1e-4)) ** 0.5
    light = to_linear(hair_color).astype(np.float32) * contrast[..., None]
    if rng.random() < 0.4:
        streaks = _noise(rng, (height, width), rng.uniform(0.006, 0.02), rng.uniform(2, 8))
        light = light * np.exp(0.25 * _out_of_focus(streaks, blur))[..., None]
    return to_display(np.clip(light, 0, 1)).astype(np.float32)


def render_background(
    choice: BackgroundChoice,
    shape: tuple[int, int],
    hair_color: np.ndarray,
    mesh: BaseMesh | None = None,
) -> np.ndarray:
    """Paint a background.

    Parameters
    ----------
    shape : (H, W)
        Shape of the background, in pixels.
    hair_color : (3,) ndarray
        Display RGB in [0, 1], of the hair before it.
    mesh : BaseMesh, optional
        Where there are bystanders.

    Returns
    -------
    (H, W, 3) float32 ndarray
        Display RGB in [0, 1].
    """
    rng = np.random.Generator(np.random.PCG64(choice.seed))
    blur = choice.blur * shape[0]
    colors = [linear_color(code).astype(np.float32) for code in choice.colors]
    linear = _RENDER[choice.kind](rng, shape, colors, choice.detail, blur)
    display = _leveled(linear, choice.level)
    if choice.resembles_hair:
        display = _like_hair(rng, display, hair_color, blur)
    if choice.bystanders:
        display = bystanders.painted(
            rng, display, choice.bystanders, max(blur, 0.004 * shape[0]), mesh
        )
    return np.clip(display, 0, 1)
