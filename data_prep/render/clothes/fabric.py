"""Cloth as a material: weave, pattern, colors and seams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.base.colors import linear_color
from data_prep.render.base.randomness import pick

if TYPE_CHECKING:
    import bpy

# sRGB.  Muted colors are drawn more often: that is what people wear.
MUTED = (
    "f0efea",
    "1d1f24",
    "2c3e63",
    "3b3b3b",
    "5b6470",
    "c9b79c",
    "d9d4c7",
    "8a7f72",
    "22303c",
    "4b5a4a",
    "6e6259",
    "b8bcc0",
    "101114",
    "39424e",
    "7a6a5a",
    "e4ddd0",
)
VIVID = (
    "8c2f39",
    "4a6b57",
    "6b4e71",
    "d98f4e",
    "7fa3b8",
    "b8c4a8",
    "e0c3c3",
    "274b40",
    "a33b2c",
    "c9a227",
    "2f6f8f",
    "b5485d",
    "3c5fa8",
    "88a36b",
    "d9777f",
    "5a3d6a",
    "e8c9a0",
    "197a72",
)
MUTED_SHARE = 0.6


@dataclass(frozen=True)
class FabricChoice:
    """A cloth.

    Attributes
    ----------
    weave : str
        "jersey", "woven", "denim", "knit", "wool" or "satin": relief and sheen.
    pattern : str
        "plain", "stripes", "vertical stripes", "plaid", "melange", "floral",
        "dots", "houndstooth" or "blocks".
    colors : tuple of str
        Three sRGB codes: ground, figure, accent.
    repeat : float
        Period of the pattern in meters.
    balance : float
        Share of the figure's color in the period, 0 to 1.
    """

    weave: str
    pattern: str
    colors: tuple[str, str, str]
    repeat: float
    balance: float


REPEATS = {  # meters: shortest and longest period
    "plain": (0.02, 0.02),
    "stripes": (0.014, 0.06),
    "vertical stripes": (0.006, 0.03),
    "plaid": (0.03, 0.09),
    "melange": (0.002, 0.004),
    "floral": (0.016, 0.05),
    "dots": (0.010, 0.03),
    "houndstooth": (0.006, 0.014),
    "blocks": (0.14, 0.22),
}
ROUGHNESS = {
    "jersey": 0.85,
    "woven": 0.8,
    "denim": 0.9,
    "knit": 0.95,
    "wool": 0.95,
    "satin": 0.38,
}
RELIEF = {  # meters between the lowest and the highest of a tile
    "jersey": 0.003,
    "woven": 0.004,
    "denim": 0.004,
    "knit": 0.003,
    "wool": 0.002,
    "satin": 0.003,
}
TILE_METERS, TILE_SIDE = 0.3, 512
SHEEN = {"jersey": 0.1, "woven": 0.08, "denim": 0.08, "knit": 0.15, "wool": 0.15, "satin": 0.05}


def choose_color(rng: np.random.Generator, muted_share: float = MUTED_SHARE) -> str:
    """An sRGB code from the muted or the vivid palette."""
    palette = MUTED if rng.random() < muted_share else VIVID
    return palette[int(rng.integers(len(palette)))]


def choose_fabric(
    rng: np.random.Generator,
    weaves: Mapping[str, float],
    patterns: Mapping[str, float],
    muted_share: float = MUTED_SHARE,
) -> FabricChoice:
    """Draw a cloth.

    Parameters
    ----------
    weaves, patterns : mapping of str to float
        Shares of what the garment is made in.
    muted_share : float, default 0.6
        How often a color is muted.
    """
    pattern = pick(rng, patterns)
    low, high = REPEATS[pattern]
    colors = []
    while len(colors) < 3:
        color = choose_color(rng, muted_share)
        if color not in colors:
            colors.append(color)
    return FabricChoice(
        weave=pick(rng, weaves),
        pattern=pattern,
        colors=tuple(colors),
        repeat=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        balance=float(rng.uniform(0.25, 0.55)),
    )


def fractal(rng: np.random.Generator, side: int, coarsest: float, slope: float = 1.0) -> np.ndarray:
    """Noise (side, side) that repeats without a seam, of mean 0 and deviation 1.

    Parameters
    ----------
    coarsest : float
        Largest period in pixels.
    slope : float, default 1
        How fast finer detail fades: amplitude falls as frequency to this power.
    """
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    gain = np.where(frequency < 1 / coarsest, 0, np.maximum(frequency, 1 / side) ** -slope)
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) * gain, s=(side, side))
    return noise / noise.std()


def _stamped(
    rng: np.random.Generator, side: int, count: int, radius: float, petals: int
) -> tuple[np.ndarray, np.ndarray]:
    """Flowers strewn over a tile: coverage (side, side) of petals and of hearts.

    Parameters
    ----------
    radius : float
        Median, in pixels.
    petals : int
        0 for discs.
    """
    cover, hearts = np.zeros((side, side)), np.zeros((side, side))
    for x, y in rng.uniform(0, side, (count, 2)):
        size = radius * rng.uniform(0.7, 1.3)
        reach = int(np.ceil(1.2 * size)) + 1
        rows = np.arange(int(y) - reach, int(y) + reach + 1)
        columns = np.arange(int(x) - reach, int(x) + reach + 1)
        dy, dx = rows[:, None] - y, columns[None] - x
        distance = np.hypot(dy, dx)
        outline = size * (1 + 0.3 * np.cos(petals * np.arctan2(dy, dx) + rng.uniform(0, 6.28)))
        place = np.ix_(rows % side, columns % side)
        cover[place] = np.maximum(cover[place], np.clip(outline - distance + 0.5, 0, 1))
        hearts[place] = np.maximum(hearts[place], np.clip(0.28 * size - distance + 0.5, 0, 1))
    return cover, hearts


def _band(phase: np.ndarray, share: float, softness: float) -> np.ndarray:
    """1 in the first `share` of every period of 1, 0 in the rest, `softness` between."""
    position = np.abs((phase % 1.0) - 0.5 * share)
    distance = np.minimum(position, 1 - position)
    return np.clip((0.5 * share - distance) / softness + 0.5, 0, 1)


def tile_size(choice: FabricChoice) -> float:
    """Side of a tile in meters: whole periods of the pattern, about 0.3 m."""
    return choice.repeat * max(1, round(TILE_METERS / choice.repeat))


def color_tile(rng: np.random.Generator, choice: FabricChoice, side: int = TILE_SIDE) -> np.ndarray:
    """Color of a square of cloth that repeats without a seam.

    Returns
    -------
    (side, side, 3) float64 ndarray
        Linear RGB; rows run up, columns around the body, `tile_size` across.
    """
    ground, figure, accent = (linear_color(code) for code in choice.colors)
    periods = tile_size(choice) / choice.repeat
    up, around = (axis / side * periods for axis in np.indices((side, side)))
    soft, balance = 1.5 * periods / side, choice.balance

    def over(color: np.ndarray, cover: np.ndarray, paint: np.ndarray) -> np.ndarray:
        return color + cover[..., None] * (paint - color)

    color = np.broadcast_to(ground, (side, side, 3))
    if choice.pattern == "stripes":
        color = over(color, _band(up, balance, soft), figure)
    elif choice.pattern == "vertical stripes":
        color = over(color, _band(around, 0.4 * balance, soft), figure)
    elif choice.pattern == "plaid":
        bands = _band(up, balance, soft) + _band(around, balance, soft)
        lines = np.maximum(_band(2 * up, 0.07, 2 * soft), _band(2 * around, 0.07, 2 * soft))
        color = over(over(color, 0.45 * bands, figure), 0.7 * lines, accent)
    elif choice.pattern == "melange":
        # Yarns of two colors lie along the rows of stitches.
        yarn = fractal(rng, side, 10, 0.3)
        yarn = yarn + np.roll(yarn, 1, axis=1) + np.roll(yarn, 2, axis=1)
        color = over(color, np.clip(0.35 + 0.25 * yarn, 0, 1), figure)
    elif choice.pattern == "floral":
        count, radius = int(0.8 * periods**2) + 3, 0.34 * side / periods
        leaves, _ = _stamped(rng, side, count, 0.5 * radius, 2)
        flowers, hearts = _stamped(rng, side, count, radius * (0.7 + 0.6 * balance), 5)
        color = over(over(over(color, 0.8 * leaves, accent), flowers, figure), hearts, accent)
    elif choice.pattern == "dots":
        offset = np.hypot(up % 1 - 0.5, around % 1 - 0.5)
        color = over(color, np.clip((0.6 * balance - offset) / soft + 0.5, 0, 1), figure)
    elif choice.pattern == "houndstooth":
        warp, weft = _band(around, 0.5, soft) > 0.5, _band(up, 0.5, soft) > 0.5
        twill = _band(2 * (up + around), 0.5, soft) > 0.5
        color = over(color, np.where(twill, warp, weft).astype(float), figure)
    elif choice.pattern == "blocks":
        color = over(color, _band(up, 0.5, soft), figure)
    # Unequal dye and thread, so that no cloth is of one flat color.
    thread = {"denim": 0.22, "wool": 0.10, "knit": 0.09, "satin": 0.02}.get(choice.weave, 0.05)
    shade = 1 + 0.06 * fractal(rng, side, 160) + thread * fractal(rng, side, 6, 0.3)
    return np.clip(color * shade[..., None], 0, 1)


def relief_tile(
    rng: np.random.Generator, choice: FabricChoice, side: int = TILE_SIDE
) -> np.ndarray:
    """Height of the weave and of fine creases, (side, side), about 0 to 1; no seam."""
    across = tile_size(choice)
    up, around = (axis / side * across for axis in np.indices((side, side)))
    grain = fractal(rng, side, 5, 0.3)
    creases = fractal(rng, side, 110, 1.4)
    if choice.weave in ("knit", "wool"):
        wanted = 0.0065 if choice.weave == "knit" else 0.0032
        period = across / round(across / wanted)
        column = np.abs(np.sin(np.pi * around / period))
        lean = up / period + 0.5 * column
        stitch = 0.5 + 0.5 * np.sin(2 * np.pi * lean)
        return np.clip(
            0.15 + 0.45 * column * (0.5 + 0.5 * stitch) + 0.06 * grain + 0.08 * creases, 0, 1
        )
    twill = np.sin(2 * np.pi * (up + around) / (across / round(across / 0.0022)))
    lines = 0.12 * twill if choice.weave == "denim" else 0.0
    return np.clip(0.5 + lines + 0.05 * grain + 0.14 * creases, 0, 1)


def fabric_material(
    rng: np.random.Generator, choice: FabricChoice, name: str, *, ribbed_edge: float = 0.0
) -> bpy.types.Material:
    """The material of a cloth: two image tiles, which cost less than noise nodes.

    It reads texture coordinates in meters, around the body or arm and up or
    along it, and the vertex attribute ``edge`` (meters from the neckline).

    Parameters
    ----------
    name : str
        Not used before in the scene.
    ribbed_edge : float, default 0
        Width in meters of a ribbed band along the neckline.
    """
    from data_prep.render.base.blender import NodeTree, image_of

    tree = NodeTree.of_material(name)
    print_place = tree.uv()
    scale = (1 / tile_size(choice),) * 3
    vector = tree.mapping(print_place, Scale=scale)

    def picture(kind: str, values: np.ndarray):
        image = image_of(f"{name} {kind}", values)
        return tree.node("ShaderNodeTexImage", {0: vector}, image=image).outputs[0]

    color = picture("color", color_tile(rng, choice))
    relief = relief_tile(rng, choice)
    height = tree.math("ADD", picture("relief", np.repeat(relief[..., None], 3, axis=2)), 0.0)
    if ribbed_edge:
        edge = tree.attribute("edge")
        around = tree.node("ShaderNodeSeparateXYZ", {0: print_place}).outputs[0]
        ribs = tree.math("SINE", tree.multiply(around, 2 * np.pi / 0.0045))
        band = tree.math("LESS_THAN", edge, ribbed_edge)
        seam = tree.ramp(
            tree.math("ABSOLUTE", tree.math("SUBTRACT", edge, ribbed_edge)), 0.0, 0.0025
        )
        height = tree.math("ADD", height, tree.multiply(band, ribs, 0.15))
        height = tree.math("MULTIPLY_ADD", seam, 0.4, height)
    return tree.surface(
        tree.principled(
            base_color=color,
            roughness=ROUGHNESS[choice.weave],
            sheen_weight=SHEEN[choice.weave],
            sheen_roughness=0.5,
            specular_ior_level=0.25,
            normal=tree.bump(height, 0.8, RELIEF[choice.weave]),
        )
    )
