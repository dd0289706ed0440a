"""Glasses: their shapes, and how they sit on a nose and two ears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.base.colors import linear_color
from data_prep.render.base.geometry import PolygonMesh, merged, swept, tube
from data_prep.render.base.randomness import pick
from data_prep.render.base.vectors import smooth_step, transform
from data_prep.render.people.expression import Subject
from data_prep.render.people.head_shape import HeadShape
from data_prep.render.people.person import PersonChoice

if TYPE_CHECKING:
    import bpy

# Frame shapes: share; lens width and height in meters; exponent of the outline
# (2 ellipse, higher squarer); lift of the outer corner; narrowing to the bottom.
FRAMES: dict[str, tuple[float, float, float, float, float, float]] = {
    "round": (0.20, 0.046, 0.043, 2.0, 0.000, 0.00),
    "oval": (0.12, 0.050, 0.034, 2.2, 0.000, 0.00),
    "rectangle": (0.24, 0.053, 0.033, 4.5, 0.001, 0.06),
    "wayfarer": (0.20, 0.051, 0.040, 3.4, 0.003, 0.14),
    "cat eye": (0.08, 0.052, 0.038, 2.8, 0.007, 0.16),
    "aviator": (0.10, 0.055, 0.046, 2.5, 0.001, 0.22),
    "large": (0.06, 0.056, 0.050, 3.0, 0.002, 0.06),
}
MATERIALS = {"plastic": 0.6, "metal": 0.4}
PLASTIC_COLORS = ("0e0e10", "1c1512", "3a2216", "5c3a22", "14202e", "4a1420", "c9b8a0", "2d2d30")
METAL_COLORS = ("b08d4f", "c9ccd0", "55585c", "1a1a1c", "c58f7a")
LENS_COLORS = ("0a0a0b", "1a120c", "0e1a14", "1a1f2a")
# Shares of people with glasses, by years of age.
SHARES = ((35, 0.17), (50, 0.24), (200, 0.40))
SUN_SHARE = 0.10  # of those with glasses
OUTLINE = 48


@dataclass(frozen=True)
class GlassesChoice:
    """A pair of glasses.

    Attributes
    ----------
    frame : str
        Key of `FRAMES`.
    material : str
        Key of `MATERIALS`.
    color : str
        sRGB code of the frame.
    lens_color : str
        sRGB code of dark lenses, "" for clear ones.
    size : float
        1 is usual.
    thickness : float
        Half of the rim's thickness in meters.
    slide : float
        How far down the nose they sit, in meters.
    """

    frame: str
    material: str
    color: str
    lens_color: str
    size: float
    thickness: float
    slide: float


def choose_glasses(rng: np.random.Generator, person: PersonChoice) -> GlassesChoice | None:
    """Draw glasses, more often for older people (`SHARES`); None for none."""
    share = next(value for years, value in SHARES if person.years < years)
    if rng.random() > share:
        return None
    material = pick(rng, MATERIALS)
    colors = PLASTIC_COLORS if material == "plastic" else METAL_COLORS
    thickness = (
        rng.uniform(0.0013, 0.0026) if material == "plastic" else rng.uniform(0.0006, 0.0010)
    )
    dark = rng.random() < SUN_SHARE
    return GlassesChoice(
        frame=pick(rng, {name: values[0] for name, values in FRAMES.items()}),
        material=material,
        color=colors[int(rng.integers(len(colors)))],
        lens_color=LENS_COLORS[int(rng.integers(len(LENS_COLORS)))] if dark else "",
        size=float(rng.uniform(0.94, 1.08)),
        thickness=float(thickness),
        slide=float(rng.uniform(0.0, 0.004)),
    )


def lens_outline(frame: str, size: float) -> np.ndarray:
    """The rim of the left lens about its middle, (OUTLINE, 2): x outward, z up, meters.

    Counterclockwise seen from the wearer's front.
    """
    _, width, height, exponent, lift, taper = FRAMES[frame]
    angle = np.arange(OUTLINE) * 2 * np.pi / OUTLINE
    cosine, sine = np.cos(angle), np.sin(angle)
    x = np.sign(cosine) * np.abs(cosine) ** (2 / exponent)
    z = np.sign(sine) * np.abs(sine) ** (2 / exponent)
    # Corners: the outer one may be lifted; the bottom is narrower, most at the nose.
    narrow = 1 - taper * np.clip(-z, 0, 1) * np.where(x < 0, 1.3, 0.7)
    outline = np.stack([0.5 * width * x * narrow, 0.5 * height * z], axis=1)
    outline[:, 1] += lift * np.clip(x, 0, 1) ** 2 * np.clip(z + 0.6, 0, None)
    return size * outline


@dataclass(frozen=True, eq=False)
class Glasses:
    """Glasses in the axes of rest coordinates: frame, pads and two lenses."""

    frame: PolygonMesh
    lenses: PolygonMesh
    pads: PolygonMesh | None


def _plane(head: HeadShape, outline: np.ndarray, bridge: float, height: float) -> float:
    """y of the lenses' middle: clear of lashes, brows and cheeks, resting on the nose."""
    nearest = head.eyes[:, 1].min() - head.eye_radius - 0.011
    half = np.abs(outline).max(axis=0)
    for side in (-1, 1):
        center = side * (bridge / 2 + half[0])
        for dx in (-0.6, 0.0, 0.6):
            for dz in (-0.75, 0.0, 0.75):
                skin = head.front(center + dx * half[0], height + dz * half[1])
                # The lens bends back to the side and leans back below.
                nearest = min(nearest, skin - 0.004)
    return nearest


def fit_glasses(choice: GlassesChoice, head: HeadShape) -> Glasses:
    """Make a pair that fits a head."""
    outline = lens_outline(choice.frame, choice.size)
    half_width = np.abs(outline[:, 0]).max()
    eye_x = np.abs(head.eyes[:, 0]).mean()
    bridge = max(0.014, 2 * (eye_x + 0.003 - half_width))
    height = head.eyes[:, 2].mean() - 0.002 - choice.slide
    plane = _plane(head, outline, bridge, height) - 0.25 * choice.slide
    middle = bridge / 2 + half_width
    edge = middle + half_width

    def bent(x: np.ndarray, z: np.ndarray, forward: np.ndarray | float = 0.0) -> np.ndarray:
        """The front is curved around the face and leans forward at the top."""
        y = plane + 1.6 * x**2 - 0.10 * (z - height) - forward
        return np.stack([x, y, z], axis=-1)

    thick = choice.thickness
    parts, lenses, pads = [], [], []
    for side in (1, -1):
        x = side * (middle + outline[:, 0])
        z = height + outline[:, 1]
        rim = bent(x, z)
        rim = rim if side > 0 else rim[::-1]
        parts.append(tube(rim, thick, sides=8, closed=True, start=(0.0, 1.0, 0.0), flatten=1.25))
        rings = []
        center = np.array([side * middle, 0.0, height])
        for share in (1.0, 0.6, 0.02):
            ring_x = center[0] + share * (x - center[0])
            ring_z = center[2] + share * (z - center[2])
            # A lens bulges: its middle is further forward than its rim.
            rings.append(bent(ring_x, ring_z, 0.0022 * (1 - share**2)))
        lens = np.array(rings) if side > 0 else np.array(rings)[:, ::-1]
        lenses.append(swept(lens, closed=True))

        hinge_z = height + 0.62 * outline[:, 1].max()
        hinge = bent(np.array(side * (edge - 0.001)), np.array(hinge_z))
        parts.append(
            tube(
                _temple(head, hinge, side),
                0.9 * thick + 0.0004,
                sides=8,
                start=(1, 0, 0),
                flatten=1.7,
            )
        )
        if choice.material == "metal":
            x_pad, z_pad = side * 0.0085, height - 0.006
            front = head.front(x_pad, z_pad, 0.003)
            arm = np.array(
                [
                    bent(np.array(side * (bridge / 2 + 0.001)), np.array(z_pad + 0.002)),
                    [side * 0.0088, front - 0.0035, z_pad + 0.001],
                    [x_pad, front - 0.0012, z_pad],
                ]
            )
            parts.append(tube(arm, 0.0005, sides=6))
            pad = np.array(
                [[x_pad, front - 0.001, z_pad + dz] for dz in (-0.005, -0.003, 0, 0.003, 0.005)]
            )
            pads.append(tube(pad, np.array([0.0008, 0.0022, 0.0028, 0.0022, 0.0008]), sides=8))
    parts.append(_bridge(head, choice, bent, bridge, height, outline))
    if choice.frame == "aviator":
        x = np.linspace(-bridge / 2 - 0.006, bridge / 2 + 0.006, 12)
        parts.append(
            tube(bent(x, np.full(12, height + 0.47 * np.ptp(outline[:, 1]))), thick, sides=6)
        )
    return Glasses(merged(parts), merged(lenses), merged(pads) if pads else None)


def _bridge(
    head: HeadShape,
    choice: GlassesChoice,
    bent: Callable[..., np.ndarray],
    bridge: float,
    height: float,
    outline: np.ndarray,
) -> PolygonMesh:
    """The piece between the lenses, arched over the nose."""
    x = np.linspace(-0.5 * bridge - 0.001, 0.5 * bridge + 0.001, 13)
    arch = np.cos(np.pi * x / (bridge + 0.004))
    z = height + 0.22 * np.ptp(outline[:, 1]) + 0.003 * arch
    path = bent(x, z, 0.0015 * arch)
    for point in path:
        point[1] = min(point[1], head.front(point[0], point[2]) - choice.thickness - 0.0006)
    return tube(path, 1.1 * choice.thickness, sides=8, start=(0.0, 1.0, 0.0))


def _temple(head: HeadShape, hinge: np.ndarray, side: int) -> np.ndarray:
    """The path (K, 3) from a hinge along the temple, over the ear and down behind it."""
    root, _ = head.ear_points(side)
    root = root + [0, 0, 0.003]
    t = np.linspace(0, 1, 16)
    path = hinge + t[:, None] * (root - hinge)
    clear = np.array([head.half_width(y, z, side) for _, y, z in path]) + 0.0022
    # From the hinge it first runs straight back, then closes in on the head.
    width = np.abs(hinge[0]) + (np.abs(root[0]) + 0.002 - np.abs(hinge[0])) * smooth_step(0.1, 1, t)
    # The hinge itself stands off the face.
    path[:, 0] = side * np.maximum(width, clear)
    down = np.linspace(0, 1, 7)[1:]
    hook = path[-1] + np.stack(
        [-side * 0.004 * down, 0.026 * np.sqrt(down), -0.032 * down**1.6], axis=1
    )
    return np.concatenate([path, hook])


def _frame_material(choice: GlassesChoice) -> bpy.types.Material:
    from data_prep.render.base.blender import simple_material

    color = linear_color(choice.color)
    if choice.material == "metal":
        return simple_material("glasses frame", color, metallic=1.0, roughness=0.22)
    return simple_material("glasses frame", color, roughness=0.25, coat_weight=0.5)


def _lens_material(choice: GlassesChoice) -> bpy.types.Material:
    from data_prep.render.base.blender import NodeTree, rgba

    if choice.lens_color:
        tree = NodeTree.of_material("dark lens")
        color = rgba(linear_color(choice.lens_color))
        return tree.surface(tree.principled(base_color=color, roughness=0.03, coat_weight=1.0))
    # A thin lens bends nothing: light passes, a little is mirrored.
    tree = NodeTree.of_material("clear lens")
    clear = tree.node("ShaderNodeBsdfTransparent", {0: (0.97, 0.98, 0.98, 1.0)})
    mirror = tree.node("ShaderNodeBsdfAnisotropic", {"Color": (1, 1, 1, 1), "Roughness": 0.02})
    facing = tree.node("ShaderNodeLayerWeight", {"Blend": 0.12}).outputs["Fresnel"]
    amount = tree.math("MULTIPLY", facing, 0.6)
    return tree.surface(tree.node("ShaderNodeMixShader", {0: amount, 1: clear, 2: mirror}))


def build_glasses(
    choice: GlassesChoice, subject: Subject, head: HeadShape
) -> list[bpy.types.Object]:
    """Put glasses on a subject, in its own axes.

    Clear lenses carry the property ``clear``: what is seen through them counts
    in the matte, not they themselves.
    """
    from data_prep.render.base.blender import mesh_object, simple_material

    glasses = fit_glasses(choice, head)

    def put(name: str, part: PolygonMesh, material: bpy.types.Material) -> bpy.types.Object:
        vertices = transform(subject.head, part.vertices)
        return mesh_object(name, vertices, part.faces, material=material)

    objects = [put("glasses frame", glasses.frame, _frame_material(choice))]
    lenses = put("glasses lenses", glasses.lenses, _lens_material(choice))
    lenses["clear"] = not choice.lens_color
    objects.append(lenses)
    if glasses.pads is not None:
        pads = simple_material("glasses pads", (0.75, 0.7, 0.65), roughness=0.3)
        objects.append(put("glasses pads", glasses.pads, pads))
    return objects
