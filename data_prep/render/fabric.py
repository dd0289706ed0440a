"""Cloth as a material: weave, pattern, colors and seams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.colors import linear_color
from data_prep.render.randomness import pick

if TYPE_CHECKING:
    import bpy

# sRGB.  Muted colors are drawn more often: that is what people wear.
MUTED = (
    "f0efea", "1d1f24", "2c3e63", "3b3b3b", "5b6470", "c9b79c", "d9d4c7", "8a7f72", "22303c",
    "4b5a4a", "6e6259", "b8bcc0", "101114", "39424e", "7a6a5a", "e4ddd0",
)  # fmt: skip
VIVID = (
    "8c2f39", "4a6b57", "6b4e71", "d98f4e", "7fa3b8", "b8c4a8", "e0c3c3", "274b40", "a33b2c",
    "c9a227", "2f6f8f", "b5485d", "3c5fa8", "88a36b", "d9777f", "5a3d6a", "e8c9a0", "197a72",
)  # fmt: skip
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
    "jersey": 0.85, "woven": 0.8, "denim": 0.9, "knit": 0.95, "wool": 0.95, "satin": 0.38,
}  # fmt: skip
SHEEN = {"jersey": 0.25, "woven": 0.2, "denim": 0.15, "knit": 0.5, "wool": 0.6, "satin": 0.1}


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


def fabric_material(choice: FabricChoice, name: str, *, ribbed_edge: float = 0.0) -> bpy.types.Material:
    """The material of a cloth.

    It reads the vertex attributes ``pattern`` (meters around the body or arm,
    through the cloth, and up or along the arm), ``place`` (position on the
    standing body, meters) and ``edge`` (meters from the neckline).

    Parameters
    ----------
    ribbed_edge : float, default 0
        Width in meters of a ribbed band along the neckline.
    """
    from data_prep.render.blender import NodeTree, rgba

    tree = NodeTree.of_material(name)
    ground, figure, accent = (rgba(linear_color(code)) for code in choice.colors)
    pattern = tree.attribute("pattern", "Vector")
    place = tree.attribute("place", "Vector")
    axes = tree.node("ShaderNodeSeparateXYZ", {0: pattern}).outputs
    around, up = axes[0], axes[2]

    def wave(coordinate, period: float, share: float):
        """1 in the first `share` of every period, else 0."""
        phase = tree.math("FRACT", tree.math("MULTIPLY_ADD", coordinate, 1 / period, 100.0))
        return tree.math("LESS_THAN", phase, share)

    repeat, balance = choice.repeat, choice.balance
    color = ground
    if choice.pattern == "stripes":
        color = tree.mix(wave(up, repeat, balance), ground, figure)
    elif choice.pattern == "vertical stripes":
        color = tree.mix(wave(around, repeat, 0.4 * balance), ground, figure)
    elif choice.pattern == "plaid":
        bands = tree.math("ADD", wave(up, repeat, balance), wave(around, repeat, balance))
        color = tree.mix(tree.multiply(bands, 0.45), ground, figure)
        lines = tree.math("MAXIMUM", wave(up, repeat / 2, 0.07), wave(around, repeat / 2, 0.07))
        color = tree.mix(tree.multiply(lines, 0.7), color, accent)
    elif choice.pattern == "melange":
        color = tree.mix(tree.ramp(tree.noise(place, 0.8 / repeat, 3), 0.4, 0.62), ground, figure)
    elif choice.pattern == "floral":
        petals = tree.math("LESS_THAN", tree.voronoi(pattern, 1 / repeat), 0.9 * balance)
        hearts = tree.math("LESS_THAN", tree.voronoi(pattern, 1 / repeat), 0.3 * balance)
        leaves = tree.ramp(tree.noise(place, 1.3 / repeat, 2), 0.58, 0.62)
        color = tree.mix(tree.multiply(leaves, 0.7), ground, accent)
        color = tree.mix(hearts, tree.mix(petals, color, figure), accent)
    elif choice.pattern == "dots":
        cells = [tree.math("FRACT", tree.math("MULTIPLY_ADD", c, 1 / repeat, 100.0)) for c in (around, up)]
        squares = [tree.math("POWER", tree.math("SUBTRACT", c, 0.5), 2.0) for c in cells]
        radius = 0.5 * balance
        dots = tree.math("LESS_THAN", tree.math("ADD", *squares), radius * radius)
        color = tree.mix(dots, ground, figure)
    elif choice.pattern == "houndstooth":
        diagonal = tree.math("ADD", around, up)
        checks = tree.math("ADD", wave(up, repeat, 0.5), wave(around, repeat, 0.5))
        teeth = tree.math("MULTIPLY", tree.math("MODULO", checks, 2.0), wave(diagonal, repeat / 2, 0.5))
        both = tree.math("GREATER_THAN", tree.math("ADD", tree.math("GREATER_THAN", checks, 1.5), teeth), 0.5)
        color = tree.mix(both, ground, figure)
    elif choice.pattern == "blocks":
        color = tree.mix(wave(up, repeat, 0.5), ground, figure)

    # Unequal dye and wear, so that no cloth is of one flat color.
    shade = tree.math("MULTIPLY_ADD", tree.noise(place, 45, 4), 0.3, 0.85)
    grain = tree.math("MULTIPLY_ADD", tree.noise(place, 900, 2), 0.24, 0.88)
    if choice.weave == "denim":
        grain = tree.math("MULTIPLY_ADD", tree.noise(place, 700, 3), 0.8, 0.6)
    factor = tree.math("MULTIPLY", shade, grain)
    gray = tree.node("ShaderNodeCombineColor", {0: factor, 1: factor, 2: factor}).outputs[0]
    color = tree.mix(1.0, color, gray, "MULTIPLY")

    height, depth = _relief(tree, choice.weave, place, around, up)
    if ribbed_edge:
        edge = tree.attribute("edge")
        ribs = tree.math("SINE", tree.multiply(around, 2 * np.pi / 0.0045))
        band = tree.math("LESS_THAN", edge, ribbed_edge)
        seam = tree.ramp(tree.math("ABSOLUTE", tree.math("SUBTRACT", edge, ribbed_edge)), 0.0, 0.0025)
        height = tree.math("ADD", height, tree.math("MULTIPLY", band, tree.multiply(ribs, 0.3)))
        height = tree.math("ADD", height, seam)
    return tree.surface(
        tree.principled(
            base_color=color,
            roughness=ROUGHNESS[choice.weave],
            sheen_weight=SHEEN[choice.weave],
            sheen_roughness=0.5,
            specular_ior_level=0.25,
            normal=tree.bump(height, 0.7, depth),
        )
    )


def _relief(tree, weave: str, place, around, up):
    """Height of the weave, about 0 to 1, and the meters that 1 stands for."""
    crumple = tree.noise(place, 55, 4)
    if weave in ("knit", "wool"):
        period = 0.006 if weave == "knit" else 0.003
        column = tree.math("SINE", tree.multiply(around, 2 * np.pi / period))
        lean = tree.math("MULTIPLY_ADD", tree.math("ABSOLUTE", column), 0.5 * period, up)
        row = tree.math("SINE", tree.multiply(lean, 2 * np.pi / (0.8 * period)))
        stitches = tree.math("ADD", tree.math("ABSOLUTE", column), tree.multiply(row, 0.4))
        height = tree.math("ADD", tree.multiply(stitches, 0.5), tree.multiply(tree.noise(place, 600, 2), 0.8))
        return height, 0.0022 if weave == "knit" else 0.0008
    threads = tree.noise(place, 1400, 2)
    height = tree.math("ADD", tree.multiply(threads, 0.25), tree.multiply(crumple, 1.0))
    return height, {"jersey": 0.0025, "woven": 0.0035, "denim": 0.003, "satin": 0.0025}[weave]
