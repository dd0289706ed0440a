"""Skin: makeup and stubble of a photo, and the body as Blender renders it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from data_prep.common.errors import InputError
from data_prep.render.base.colors import linear_color
from data_prep.render.base.randomness import clipped_normal, pick
from data_prep.render.people.body import BaseMesh
from data_prep.render.people.expression import Subject
from data_prep.render.people.person import PersonChoice
from data_prep.render.people.scalp import beard_density
from data_prep.render.people.skin_patterns import BROAD_SIDE, FINE_SIDE, broad_tile, fine_tile

if TYPE_CHECKING:  # the choice and the masks work without Blender
    import bpy

    from data_prep.render.base.blender import NodeTree, Value

# Skin from pale to dark, sRGB as photographed in white light.
TONES = (
    "f0cdb8",
    "eac0a6",
    "e0b193",
    "d3a07f",
    "c08c69",
    "a97453",
    "8c5c40",
    "704730",
    "553423",
    "402719",
)
LIPSTICKS = {"none": 0.0, "8c2b36": 0.3, "a34b4b": 0.3, "6e2238": 0.15, "b3616a": 0.25}
EYE_SHADOWS = {"none": 0.6, "5a4238": 0.16, "4c3f4a": 0.12, "7a5240": 0.12}
VISIBLE_HEIGHT = -0.02  # rest z in meters; below, no portrait shows a body
FACE_SCALE = 1.05  # meters of a face that 1 of its texture coordinates covers
CREASES = (0.9, 5.0)  # tiles per meter of width and height: lines that run across
MASK_BLUR = 5  # pixels of 2048 for the whole body: 2 mm of a face
ARM_REACH = 0.21  # rest |x| beyond which a vertex belongs to an arm
SCATTERING = 0.4  # share of light that enters the skin; costs its share of the rendering
MOUTH_COLOR = (0.20, 0.045, 0.04)
NO_SCALP = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class SkinChoice:
    """How skin looks on one photo.

    Attributes
    ----------
    lipstick, eye_shadow : str
        sRGB color, or "none".
    lipstick_strength, eye_shadow_strength, blush : float
        0 to 1.
    stubble : float
        0 shaved to 1 as dark as a three-day beard.
    oil : float
        0 matte to 1 shining.
    offset : (3,) tuple of float
        Shift (in tiles) and turn (radians) of the patterns: nobody has
        another's freckles.
    """

    lipstick: str
    lipstick_strength: float
    eye_shadow: str
    eye_shadow_strength: float
    blush: float
    stubble: float
    oil: float
    offset: tuple[float, float, float]


def choose_skin(
    rng: np.random.Generator, person: PersonChoice, pattern: np.random.Generator
) -> SkinChoice:
    """Draw how skin looks on a photo.

    Parameters
    ----------
    rng : Generator
        Random numbers of the photo.
    person : PersonChoice
    pattern : Generator
        Random numbers of the person: decides where freckles and spots are.
    """
    made_up = person.sex == "female" and rng.random() < 0.6
    stubbled = person.sex == "male" and person.years > 17
    return SkinChoice(
        lipstick=pick(rng, LIPSTICKS) if made_up else "none",
        lipstick_strength=float(rng.uniform(0.35, 0.85)),
        eye_shadow=pick(rng, EYE_SHADOWS) if made_up else "none",
        eye_shadow_strength=float(rng.uniform(0.2, 0.55)),
        blush=float(rng.uniform(0.1, 0.5)) if made_up else 0.0,
        stubble=float(rng.choice([0.08, 0.25, 0.5, 0.8], p=[0.35, 0.3, 0.2, 0.15]))
        if stubbled
        else 0.0,
        oil=clipped_normal(rng, 0.35, 0.2, 0.0, 1.0),
        offset=tuple(float(x) for x in pattern.uniform(-3, 3, size=3)),
    )


# --- regions of the body ----------------------------------------------------------


def _bump(rest: np.ndarray, center: tuple[float, float, float], size: float) -> np.ndarray:
    """A Gaussian of deviation `size` (m) about a point and its mirror image, (N,)."""
    mirrored = np.column_stack([np.abs(rest[:, 0]), rest[:, 1:]])
    return np.exp(-((mirrored - center) ** 2).sum(axis=1) / (2 * size**2))


def skin_regions(rest: np.ndarray) -> dict[str, np.ndarray]:
    """Parts of a body that differ in color or relief.

    Parameters
    ----------
    rest : (N, 3) ndarray
        Rest coordinates.

    Returns
    -------
    dict of str to (N,) ndarray in [0, 1]
        ``flush`` (cheeks, nose, ears, chin), ``under_eye``, ``beard``,
        ``forehead_lines``, ``eye_lines``, ``shine`` (forehead, nose, chin),
        ``freckled`` (nose and cheeks).
    """
    flush = (
        0.75 * _bump(rest, (0.040, -0.095, 0.700), 0.016)
        + 0.75 * _bump(rest, (0.0, -0.13, 0.702), 0.010)
        + 0.5 * _bump(rest, (0.018, -0.118, 0.692), 0.006)
        + 0.8 * _bump(rest, (0.078, -0.01, 0.715), 0.020)
        + 0.35 * _bump(rest, (0.0, -0.11, 0.635), 0.014)
    )
    under_eye = (
        _bump(rest, (0.030, -0.105, 0.722), 0.009)
        + 0.8 * _bump(rest, (0.016, -0.105, 0.735), 0.006)
        + 0.4 * _bump(rest, (0.030, -0.105, 0.745), 0.008)
    )
    forehead = _bump(rest, (0.03, -0.10, 0.785), 0.03) + _bump(rest, (0.0, -0.10, 0.79), 0.03)
    eye_lines = _bump(rest, (0.058, -0.08, 0.735), 0.012) + 0.8 * _bump(
        rest, (0.03, -0.1, 0.72), 0.01
    )
    shine = (
        0.9 * forehead
        + _bump(rest, (0.0, -0.13, 0.71), 0.014)
        + 0.6 * _bump(rest, (0.0, -0.11, 0.635), 0.014)
        + 0.5 * _bump(rest, (0.045, -0.09, 0.715), 0.014)
    )
    freckled = _bump(rest, (0.035, -0.1, 0.712), 0.022) + _bump(rest, (0.0, -0.12, 0.715), 0.016)
    regions = {
        "flush": flush,
        "under_eye": under_eye,
        "beard": beard_density(rest, "full"),
        "forehead_lines": forehead,
        "eye_lines": eye_lines,
        "shine": shine,
        "freckled": freckled,
    }
    return {name: np.clip(values, 0, 1) for name, values in regions.items()}


@functools.cache
def painted_regions(mesh: BaseMesh) -> dict[str, np.ndarray]:
    """Parts of a body that come with it as masks over its texture coordinates.

    Returns
    -------
    dict of str to (N,) ndarray in [0, 1]
        ``lips``, ``lids``, ``inner_mouth``, ``nails``.

    Raises
    ------
    InputError
        If a mask is missing or unreadable.
    """
    corners = mesh.uv_faces.ravel()
    uv = np.zeros((len(mesh.vertices), 2))
    uv[mesh.faces.ravel()] = mesh.uv[corners]  # on seams, either side's

    def values(name: str) -> np.ndarray:
        path = mesh.directory / f"mpfb2/textures/mpfb_{name}.jpg"
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise InputError(f"{path} of the body data is unreadable; fetch it again.")
        mask = cv2.blur(mask, (MASK_BLUR, MASK_BLUR))
        height, width = mask.shape
        columns = np.clip(uv[:, 0] * width, 0, width - 1).astype(int)
        rows = np.clip((1 - uv[:, 1]) * height, 0, height - 1).astype(int)
        return mask[rows, columns] / 255

    return {
        "lips": values("lips"),
        "lids": values("eyelids"),
        "inner_mouth": values("inside-mouth"),
        "nails": values("fingernails"),
    }


def skin_color(person: PersonChoice) -> np.ndarray:
    """The average albedo of a person's skin, (3,) linear RGB."""
    position = person.skin_tone * (len(TONES) - 1)
    lower = min(int(position), len(TONES) - 2)
    share = position - lower
    color = (1 - share) * linear_color(TONES[lower]) + share * linear_color(TONES[lower + 1])
    hue = np.array([1.0, 1 - 0.08 * person.skin_redness, 1 - 0.06 * person.skin_redness])
    yellow = np.array([1.0, 1.0, 1 - 0.10 * person.skin_yellowness])
    return color * hue * yellow * 0.86  # palettes of photos include the highlights


# --- material ----------------------------------------------------------------------


def _tile(tree: NodeTree, name: str, tile: np.ndarray, place: Value) -> list[Value]:
    """The three values of a tile of `skin_patterns` at texture coordinates."""
    from data_prep.render.base.blender import image_of

    picture = image_of(name, tile)
    texture = tree.node("ShaderNodeTexImage", {0: place}, image=picture, interpolation="Linear")
    return list(tree.node("ShaderNodeSeparateColor", {0: texture.outputs[0]}).outputs)


def _patterns(tree: NodeTree, choice: SkinChoice, uv: Value) -> dict[str, Value]:
    """Look up the tiles where this person has them."""
    x, y, turn = choice.offset

    def placed(side: float) -> Value:
        scale = FACE_SCALE / side
        return tree.mapping(uv, Location=(x, y, 0), Rotation=(0, 0, turn), Scale=(scale,) * 3)

    mottling, relief, freckles = _tile(tree, "skin fine", fine_tile(), placed(FINE_SIDE))
    shade, spots, moles = _tile(tree, "skin broad", broad_tile(), placed(BROAD_SIDE))
    return {
        "mottling": mottling,
        "relief": relief,
        "freckles": freckles,
        "shade": shade,
        "spots": spots,
        "moles": moles,
    }


def _color(tree: NodeTree, person: PersonChoice, choice: SkinChoice, pattern: dict) -> Value:
    """Albedo: mottled skin, then what lies on it."""
    from data_prep.render.base.blender import rgba

    base = skin_color(person)
    old = float(np.clip((person.years - 35) / 40, 0, 1))
    stain = rgba(base * [0.60, 0.47, 0.40])

    def over(color: Value, amount: Value, factors: tuple[float, float, float]) -> Value:
        return tree.mix(amount, color, rgba(base * factors))

    shade, mottling = pattern["shade"], pattern["mottling"]
    color = over(rgba(base), tree.multiply(tree.ramp(shade, 0.35, 0.75), 0.40), (1.03, 0.83, 0.78))
    color = over(color, tree.multiply(tree.ramp(mottling, 0.45, 0.85), 0.52), (0.86, 0.70, 0.64))
    color = over(color, tree.multiply(tree.ramp(mottling, 0.5, 0.15), 0.4), (1.10, 1.08, 1.05))
    redness = tree.math("MULTIPLY_ADD", shade, 0.5, 0.2 + choice.blush)
    flush = tree.multiply(tree.attribute("flush"), redness)
    color = over(color, flush, (1.0, 0.58, 0.53))
    shadow = tree.multiply(tree.attribute("under_eye"), 0.30 + 0.25 * old)
    color = over(color, shadow, (0.66, 0.52, 0.53))
    sunned = tree.math("MULTIPLY_ADD", tree.attribute("freckled"), 0.85, 0.15)
    freckles = tree.multiply(pattern["freckles"], sunned, 0.7 * person.freckles)
    color = tree.mix(freckles, color, stain)
    color = tree.mix(tree.multiply(pattern["spots"], 0.6 * person.spots * old), color, stain)
    color = tree.mix(tree.multiply(pattern["moles"], 0.8 * person.spots), color, stain)
    if choice.stubble:
        hairs = tree.math("MULTIPLY_ADD", pattern["relief"], 1.0, 0.5)
        shaven = tree.multiply(tree.attribute("beard"), hairs, 0.7 * choice.stubble)
        color = over(color, shaven, (0.36, 0.38, 0.43))
    return color


def _painted(tree: NodeTree, person: PersonChoice, choice: SkinChoice, color: Value) -> Value:
    """Lips, natural or painted, and eye shadow over the skin."""
    from data_prep.render.base.blender import rgba

    lips, lids = tree.attribute("lips"), tree.attribute("lids")
    base = skin_color(person)
    natural = base * ([0.86, 0.52, 0.50] if person.skin_tone < 0.6 else [0.84, 0.60, 0.60])
    color = tree.mix(tree.multiply(tree.ramp(lips, 0.1, 0.9), 0.8), color, rgba(natural))
    if choice.lipstick != "none":
        paint = tree.multiply(tree.ramp(lips, 0.2, 0.7), choice.lipstick_strength)
        color = tree.mix(paint, color, rgba(linear_color(choice.lipstick)))
    if choice.eye_shadow != "none":
        tint = 0.5 * base + 0.5 * linear_color(choice.eye_shadow) * (0.4 + base.mean())
        color = tree.mix(tree.multiply(lids, choice.eye_shadow_strength), color, rgba(tint))
    return color


def _normal(tree: NodeTree, person: PersonChoice, pattern: dict) -> Value:
    """Pores and, with age, wrinkles as a perturbed normal."""
    height = tree.multiply(pattern["relief"], 0.4 + 0.5 * person.pores)
    height = tree.math("MULTIPLY_ADD", pattern["mottling"], 0.35, height)
    old = float(np.clip((person.years - 30) / 45, 0, 1))
    if old > 0.1:
        rest = tree.node("ShaderNodeSeparateXYZ", {0: tree.attribute("rest", "Vector")})
        across, up = (tree.multiply(rest.outputs[a], s) for a, s in zip("XZ", CREASES))
        place = tree.node("ShaderNodeCombineXYZ", {0: across, 1: up})
        creases = _tile(tree, "skin fine", fine_tile(), place)[0]
        where = tree.math("ADD", tree.attribute("forehead_lines"), tree.attribute("eye_lines"))
        height = tree.math("ADD", height, tree.multiply(creases, where, 7.0 * old))
    return tree.bump(height, strength=0.6, distance=0.0006)


def skin_material(
    subject: Subject, choice: SkinChoice, scalp_color: tuple[float, float, float]
) -> bpy.types.Material:
    """The material of the body; reads the attributes that `build_skin` sets."""
    from data_prep.render.base.blender import NodeTree, rgba

    person = subject.person
    tree = NodeTree.of_material("skin")
    pattern = _patterns(tree, choice, tree.uv())
    color = _color(tree, person, choice, pattern)
    color = _painted(tree, person, choice, color)
    color = tree.mix(tree.attribute("inner_mouth"), color, rgba(MOUTH_COLOR))
    nails = rgba(skin_color(person) * [1.08, 0.88, 0.86])
    color = tree.mix(tree.attribute("nails"), color, nails)
    color = tree.mix(tree.attribute("scalp"), color, rgba(scalp_color))
    roughness = tree.math("MULTIPLY_ADD", pattern["mottling"], 0.3, 0.45 - 0.12 * choice.oil)
    shine = tree.multiply(tree.attribute("shine"), -0.05 - 0.13 * choice.oil)
    roughness = tree.math("ADD", roughness, shine)
    roughness = tree.math("MULTIPLY_ADD", tree.attribute("lips"), -0.14, roughness)
    roughness = tree.math("MULTIPLY_ADD", tree.attribute("nails"), -0.22, roughness)
    return tree.surface(
        tree.principled(
            base_color=color,
            roughness=roughness,
            ior=1.4,
            subsurface_weight=SCATTERING,
            subsurface_scale=0.006,
            subsurface_radius=(1.0, 0.35, 0.2),
            normal=_normal(tree, person, pattern),
        )
    )


def visible_faces(subject: Subject, covered: np.ndarray | None = None) -> np.ndarray:
    """Which quads of the body a portrait may show, bool, in the order of its quads.

    Head, trunk and arms, without the quads all of whose vertices are `covered`.
    """
    quads = subject.mesh.faces[subject.mesh.faces_of("body")]
    reach, height = np.abs(subject.rest[quads, 0]), subject.rest[quads, 2]
    shown = (height.max(axis=1) > VISIBLE_HEIGHT) | (reach.min(axis=1) > ARM_REACH)
    if covered is not None:
        shown &= ~covered[quads].all(axis=1)
    return shown


def build_skin(
    choice: SkinChoice,
    subject: Subject,
    *,
    covered: np.ndarray | None = None,
    scalp: np.ndarray | None = None,
    scalp_color: tuple[float, float, float] = NO_SCALP,
) -> bpy.types.Object:
    """Make the body, in the subject's axes.

    Parameters
    ----------
    covered : (N,) bool ndarray, optional
        Vertices under clothes; quads wholly among them are left out.
    scalp : (N,) ndarray, optional
        How much the skin takes the color of the hair that grows there, 0 to 1.
    scalp_color : (3,) tuple of float
        That color, linear RGB.

    Returns
    -------
    Object
        Vertex attributes ``rest`` (vector), ``scalp``, those of `skin_regions`
        and `painted_regions`.
    """
    from data_prep.render.people.parts import body_part

    regions = skin_regions(subject.rest) | painted_regions(subject.mesh)
    regions["scalp"] = np.zeros(len(subject.rest)) if scalp is None else scalp
    quads = subject.mesh.faces_of("body")[visible_faces(subject, covered)]
    return body_part("skin", subject, quads, skin_material(subject, choice, scalp_color), regions)
