"""Clothes: what people wear, and the garments in Blender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.base.colors import linear_color
from data_prep.render.base.geometry import PolygonMesh, clipped, hemmed, merged, vertex_normals
from data_prep.render.base.noise import Noise
from data_prep.render.base.randomness import pick
from data_prep.render.clothes import collars
from data_prep.render.clothes.drape import (
    Cut,
    Garment,
    StandingBody,
    covered_vertices,
    cut_height,
    drape,
    print_coordinates,
    seam_height,
)
from data_prep.render.clothes.fabric import FabricChoice, choose_fabric, fabric_material
from data_prep.render.clothes.fibers import fiber_strands, scattered
from data_prep.render.people.expression import Subject
from data_prep.render.people.person import PersonChoice

if TYPE_CHECKING:
    import bpy

LONG_SLEEVE = 0.97  # of the arm
THICKNESS = 0.0024  # meters of cloth
RIB_WIDTH = 0.018  # meters of a ribbed neckband
HIDDEN_MARGIN = 0.03  # meters inside the edge of the garment above
FUR_FIBERS = 22000
FUZZ_FIBERS = 14000


@dataclass(frozen=True)
class Style:
    """What is common to garments of one kind.

    Attributes
    ----------
    weaves, patterns : mapping of str to float
        Shares.
    neckline : str
        As in `drape.Cut`.
    depth, width : (float, float)
        Least and most of the neckline, in meters, as in `drape.Cut`.
    sleeves : (float, float)
        Shortest and longest, as shares of the arm.
    gap, ease : float
        As in `drape.cloth_field`, in meters.
    folds : float
        Median height of creases in meters.
    trim : str
        "none", "rib", "turtleneck", "collar", "hood", "lapels" or "fur".
    fuzz : float
        Share of garments with fibers standing off the cloth.
    muted : float
        How often colors are muted.
    """

    weaves: Mapping[str, float]
    patterns: Mapping[str, float]
    neckline: str
    depth: tuple[float, float]
    width: tuple[float, float]
    sleeves: tuple[float, float] = (LONG_SLEEVE, LONG_SLEEVE)
    gap: float = 0.004
    ease: float = 0.012
    folds: float = 0.006
    trim: str = "none"
    fuzz: float = 0.0
    muted: float = 0.6


PRINTS = {
    "plain": 0.45,
    "stripes": 0.25,
    "melange": 0.12,
    "floral": 0.06,
    "dots": 0.05,
    "blocks": 0.07,
}
KNITS = {"plain": 0.5, "stripes": 0.22, "melange": 0.2, "blocks": 0.08}
SHIRTINGS = {"plain": 0.4, "vertical stripes": 0.2, "plaid": 0.25, "dots": 0.08, "floral": 0.07}
SUITINGS = {
    "plain": 0.6,
    "vertical stripes": 0.12,
    "houndstooth": 0.13,
    "plaid": 0.08,
    "melange": 0.07,
}
BLOUSES = {"plain": 0.45, "floral": 0.3, "dots": 0.15, "vertical stripes": 0.1}

STYLES = {
    "t-shirt": Style(
        {"jersey": 1},
        PRINTS,
        "round",
        (-0.006, 0.018),
        (0.066, 0.080),
        (0.26, 0.36),
        trim="rib",
        folds=0.006,
    ),
    "v-neck": Style(
        {"jersey": 0.7, "knit": 0.3},
        PRINTS,
        "v",
        (0.05, 0.11),
        (0.066, 0.080),
        (0.3, 0.97),
        trim="rib",
        folds=0.006,
    ),
    "scoop": Style(
        {"jersey": 0.8, "satin": 0.2},
        PRINTS,
        "round",
        (0.03, 0.08),
        (0.085, 0.115),
        (0.2, 0.97),
    ),
    "blouse": Style(
        {"satin": 0.5, "woven": 0.5},
        BLOUSES,
        "v",
        (0.05, 0.12),
        (0.064, 0.085),
        ease=0.020,
        folds=0.010,
    ),
    "sweater": Style(
        {"knit": 0.6, "wool": 0.4},
        KNITS,
        "round",
        (-0.004, 0.012),
        (0.062, 0.076),
        gap=0.006,
        ease=0.016,
        folds=0.009,
        trim="rib",
        fuzz=0.6,
    ),
    "turtleneck": Style(
        {"knit": 0.6, "jersey": 0.4},
        KNITS,
        "stand",
        (0.006, 0.012),
        (0.07, 0.07),
        gap=0.005,
        ease=0.013,
        folds=0.007,
        trim="turtleneck",
        fuzz=0.4,
    ),
    "shirt": Style(
        {"woven": 0.8, "denim": 0.2},
        SHIRTINGS,
        "stand",
        (0.002, 0.008),
        (0.06, 0.06),
        ease=0.018,
        folds=0.009,
        trim="collar",
    ),
    "open shirt": Style(
        {"woven": 0.8, "denim": 0.2},
        SHIRTINGS,
        "v",
        (0.03, 0.09),
        (0.060, 0.066),
        ease=0.018,
        folds=0.009,
        trim="collar",
    ),
    "hoodie": Style(
        {"jersey": 1},
        {"plain": 0.7, "melange": 0.25, "blocks": 0.05},
        "round",
        (-0.004, 0.006),
        (0.068, 0.074),
        gap=0.006,
        ease=0.024,
        folds=0.011,
        trim="hood",
    ),
    "blazer": Style(
        {"wool": 0.7, "woven": 0.3},
        SUITINGS,
        "v",
        (0.14, 0.2),
        (0.070, 0.078),
        gap=0.012,
        ease=0.030,
        folds=0.006,
        trim="lapels",
        muted=0.9,
    ),
    "coat": Style(
        {"wool": 0.7, "woven": 0.3},
        {"plain": 0.7, "melange": 0.15, "plaid": 0.15},
        "v",
        (0.10, 0.18),
        (0.072, 0.080),
        gap=0.014,
        ease=0.036,
        folds=0.008,
        trim="fur",
        muted=0.8,
    ),
}

# Outfits from the inside out, and their shares by sex.
OUTFITS: dict[str, tuple[tuple[str, ...], float, float]] = {
    # name: (garments, share of women, share of men)
    "t-shirt": (("t-shirt",), 0.15, 0.20),
    "v-neck": (("v-neck",), 0.10, 0.06),
    "scoop": (("scoop",), 0.14, 0.0),
    "blouse": (("blouse",), 0.10, 0.0),
    "sweater": (("sweater",), 0.12, 0.13),
    "turtleneck": (("turtleneck",), 0.08, 0.05),
    "shirt": (("shirt",), 0.04, 0.13),
    "open shirt": (("open shirt",), 0.07, 0.14),
    "hoodie": (("hoodie",), 0.06, 0.10),
    "blazer over shirt": (("open shirt", "blazer"), 0.03, 0.08),
    "blazer over t-shirt": (("t-shirt", "blazer"), 0.05, 0.04),
    "coat over sweater": (("sweater", "coat"), 0.03, 0.02),
    "coat over turtleneck": (("turtleneck", "coat"), 0.03, 0.02),
    "blazer over turtleneck": (("turtleneck", "blazer"), 0.0, 0.03),
}


@dataclass(frozen=True)
class GarmentChoice:
    """One layer.

    Attributes
    ----------
    kind : str
        Key of `STYLES`.
    fabric : FabricChoice
    cut : Cut
    gap, ease, folds : float
        Meters, as in `drape.drape`.
    trim : str
        As in `Style`.
    trim_size : float
        Its size, 0 small to 1 large.
    fuzz : float
        Length of fibers standing off the cloth, in meters; 0 for none.
    fur_color : str
        sRGB code of a fur trimming.
    """

    kind: str
    fabric: FabricChoice
    cut: Cut
    gap: float
    ease: float
    folds: float
    trim: str
    trim_size: float
    fuzz: float
    fur_color: str


@dataclass(frozen=True)
class ClothingChoice:
    """What a person wears: the outfit's name and its layers, inner first."""

    outfit: str
    layers: tuple[GarmentChoice, ...]


FUR_COLORS = ("2a211b", "6b5a48", "a58a6a", "d9cdb8", "efece4", "15130f", "8d8378", "4a3425")


def _choose_garment(rng: np.random.Generator, kind: str) -> GarmentChoice:
    style = STYLES[kind]
    trim = style.trim
    if trim == "fur" and rng.random() < 0.35:
        trim = "lapels"
    return GarmentChoice(
        kind=kind,
        fabric=choose_fabric(rng, style.weaves, style.patterns, style.muted),
        cut=Cut(
            neckline=style.neckline,
            depth=float(rng.uniform(*style.depth)),
            width=float(rng.uniform(*style.width)),
            sleeve=float(rng.uniform(*style.sleeves)),
        ),
        gap=style.gap,
        ease=style.ease * float(rng.uniform(0.7, 1.4)),
        folds=style.folds * float(rng.uniform(0.6, 1.5)),
        trim=trim,
        trim_size=float(rng.uniform(0, 1)),
        fuzz=float(rng.uniform(0.004, 0.009)) if rng.random() < style.fuzz else 0.0,
        fur_color=FUR_COLORS[int(rng.integers(len(FUR_COLORS)))],
    )


def choose_clothing(rng: np.random.Generator, person: PersonChoice) -> ClothingChoice:
    """Draw an outfit that women or men wear (`OUTFITS`)."""
    column = 1 if person.sex == "female" else 2
    outfit = pick(rng, {name: entry[column] for name, entry in OUTFITS.items()})
    layers = [_choose_garment(rng, kind) for kind in OUTFITS[outfit][0]]
    # Cloth under cloth lies flat and close.
    for k in range(len(layers) - 1):
        inner = layers[k]
        layers[k] = replace(inner, ease=min(inner.ease, 0.010), folds=0.3 * inner.folds)
    return ClothingChoice(outfit, tuple(layers))


@dataclass(frozen=True, eq=False)
class Clothing:
    """Clothes in the scene.

    Attributes
    ----------
    objects : list of Object
    covered : (N,) bool ndarray
        Vertices of the body that are hidden well inside the edges.
    points, normals : (M, 3) float64 ndarray
        The outside of the cloth, without thin collars, for collisions of hair and accessories.
    """

    objects: list[bpy.types.Object]
    covered: np.ndarray
    points: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True, eq=False)
class Layer:
    """A garment as arrays: its cloth, what is sewn on in the same cloth, and hardware.

    Attributes
    ----------
    garment : Garment
    cloth : list of PolygonMesh
        Posed parts in the garment's fabric besides its shell.
    hardware : list of PolygonMesh
        Posed buttons and strings.
    fur : PolygonMesh or None
        Posed part of `cloth` that fur grows on.
    """

    garment: Garment
    cloth: list[PolygonMesh]
    hardware: list[PolygonMesh]
    fur: PolygonMesh | None


def make_layer(
    rng: np.random.Generator,
    body: StandingBody,
    choice: GarmentChoice,
    over: Sequence[Cut] = (),
) -> Layer:
    """Drape a garment and sew its trimmings, without Blender.

    Parameters
    ----------
    over : sequence of Cut
        Cuts of the garments worn over it: what they hide is left out, so that it
        cannot show through.
    """
    garment = drape(rng, body, choice.cut, gap=choice.gap, ease=choice.ease, folds=choice.folds)
    cloth: list[PolygonMesh] = []
    hardware: list[PolygonMesh] = []
    fur = None
    size = choice.trim_size
    if choice.trim not in ("none", "rib"):
        loop = collars.neckline_loop(garment, body)
    if choice.trim == "turtleneck":
        cloth = [collars.turtleneck(body, loop, 0.042 + 0.02 * size)]
    elif choice.trim == "collar":
        cloth = [collars.shirt_collar(garment, body, loop, 0.026 + 0.010 * size, size)]
        first = 0.075 if choice.cut.neckline == "stand" else 0.10 + 1.5 * choice.cut.depth
        hardware = collars.buttons(garment, body, first, 0.085)
    elif choice.trim == "lapels":
        cloth = [collars.lapels(garment, body, loop, 0.060 + 0.025 * size, 0.35)]
    elif choice.trim == "fur":
        cloth = [collars.lapels(garment, body, loop, 0.060 + 0.02 * size, 0.0)]
    elif choice.trim == "hood":
        folds = Noise(rng)(8 * loop)
        cloth = [collars.hood(garment, loop, 0.9 + 0.4 * size, folds)]
        hardware = collars.drawstrings(garment, body, 0.10 + 0.08 * size)
    sewn = [collars.sewn(part, garment, body) for part in cloth]
    hardware = [
        part
        for part in hardware
        if all(cut_height(body, part.vertices, cut).min() > 0 for cut in over)
    ]
    placed = [PolygonMesh(garment.posed(part.vertices), part.faces) for part in hardware]
    if choice.trim == "fur":
        fur = sewn[0]
    for cut in over:
        hidden = cut_height(body, garment.standing, cut) < -HIDDEN_MARGIN
        faces = garment.shell.faces
        shell = replace(garment.shell, faces=faces[~hidden[faces].all(axis=1)])
        garment = replace(garment, shell=shell)
    return Layer(garment, sewn, placed, fur)


def fiber_material(name: str, color: np.ndarray) -> bpy.types.Material:
    """Hair-like fibers of one linear color."""
    from data_prep.render.base.blender import NodeTree, rgba

    tree = NodeTree.of_material(name)
    hair = tree.node(
        "ShaderNodeBsdfHairPrincipled",
        {"Color": rgba(color), "Roughness": 0.5, "Radial Roughness": 0.6, "Random Roughness": 0.2},
        parametrization="COLOR",
        model="CHIANG",
    )
    return tree.surface(hair)


def _build_layer(
    rng: np.random.Generator, body: StandingBody, layer: Layer, choice: GarmentChoice
) -> list[bpy.types.Object]:
    from data_prep.render.base.blender import mesh_object, simple_material, strands_object

    ribbed = RIB_WIDTH if choice.trim in ("rib", "turtleneck") else 0.0
    material = fabric_material(rng, choice.fabric, f"{choice.kind} cloth", ribbed_edge=ribbed)
    objects = []
    shell = hemmed(layer.garment.shell, THICKNESS)
    seam = seam_height(body, shell.attributes["standing"])
    shell = merged([clipped(shell, seam), clipped(shell, -seam)])
    for name, part in [("shell", shell), *(("trim", part) for part in layer.cloth)]:
        thing = mesh_object(
            f"{choice.kind} {name}",
            part.vertices,
            part.faces,
            uv=print_coordinates(body, part.attributes["standing"], part.faces),
            attributes={"edge": part.attributes["edge"]},
            material=material,
        )
        objects.append(thing)
        if name == "trim":
            thickness = thing.modifiers.new("thickness", "SOLIDIFY")
            thickness.thickness, thickness.offset = THICKNESS, 1
            smooth = thing.modifiers.new("smooth", "SUBSURF")
            smooth.levels = smooth.render_levels = 1
    if layer.hardware:
        color = linear_color(choice.fabric.colors[2])
        plastic = simple_material(f"{choice.kind} hardware", color, roughness=0.4)
        for part in layer.hardware:
            objects.append(
                mesh_object(f"{choice.kind} hardware", part.vertices, part.faces, material=plastic)
            )
    if layer.fur is not None:
        roots = scattered(rng, layer.fur, FUR_FIBERS)
        strands = fiber_strands(
            rng,
            *roots,
            0.018 + 0.014 * choice.trim_size,
            steps=6,
            disorder=0.55,
            droop=0.7,
            curl=0.12,
        )
        radii = np.linspace(7e-5, 2e-5, strands.shape[1])[None].repeat(len(strands), axis=0)
        fur = fiber_material("fur", linear_color(choice.fur_color))
        objects.append(strands_object("fur", strands, radii, material=fur))
    if choice.fuzz:
        shell = layer.garment.shell
        roots = scattered(rng, shell, FUZZ_FIBERS)
        strands = fiber_strands(
            rng, *roots, choice.fuzz, steps=5, disorder=0.8, droop=0.2, curl=0.5
        )
        radii = np.full(strands.shape[:2], 2.2e-5)
        fuzz = fiber_material("fuzz", linear_color(choice.fabric.colors[0]))
        objects.append(strands_object("fuzz", strands, radii, material=fuzz))
    return objects


def build_clothing(choice: ClothingChoice, subject: Subject, rng: np.random.Generator) -> Clothing:
    """Dress a subject, in its own axes.

    Parameters
    ----------
    rng : Generator
        For creases and fibers.
    """
    body = StandingBody(subject)
    layers = [
        make_layer(rng, body, layer, [over.cut for over in choice.layers[k + 1 :]])
        for k, layer in enumerate(choice.layers)
    ]
    objects = []
    covered = np.zeros(len(subject.vertices), dtype=bool)
    points, normals = [], []
    for layer, garment in zip(layers, choice.layers):
        objects += _build_layer(rng, body, layer, garment)
        covered |= covered_vertices(body, garment.cut)
        # Thin collars are left out: hair may lie inside them.
        bulky = layer.cloth if garment.trim in ("hood", "turtleneck") else []
        for part in (layer.garment.shell, *bulky):
            used = np.unique(part.faces)
            points.append(part.vertices[used])
            normals.append(vertex_normals(part.vertices, part.faces)[used])
    return Clothing(objects, covered, np.concatenate(points), np.concatenate(normals))
