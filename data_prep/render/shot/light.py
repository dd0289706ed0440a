"""Light: studio, window, open shade, sun, against the light, evening.

Every kind is an environment map and lamps.  Brightness is free: the photo is
exposed for the face afterwards (`compositing`), so only ratios matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data_prep.render.base.assets import environment_map_path, read_environment_map
from data_prep.render.base.colors import luminance
from data_prep.render.base.randomness import pick
from data_prep.render.shot.camera import direction


@dataclass(frozen=True)
class Lamp:
    """A square area light directed at the face.

    Attributes
    ----------
    azimuth, elevation : float
        As in `camera.direction`; 180 is behind the subject.
    distance, size : float
        Meters.
    power : float
        Watts.
    color : (3,) tuple of float
        Linear RGB.
    """

    azimuth: float
    elevation: float
    distance: float
    size: float
    power: float
    color: tuple[float, float, float]


@dataclass(frozen=True)
class LightChoice:
    """How a scene is lit.

    Attributes
    ----------
    kind : str
        Key of `KINDS`.
    environment : str
        Key of `assets.ENVIRONMENT_MAPS`.
    turn : float
        Turn of the environment about the vertical, in radians.
    level : float
        Mean luminance of the environment over the sphere.
    lamps : tuple of Lamp
    warmth : float
        Color of the main light: -1 (shade) to 1 (candle); the white balance
        takes most of it back.
    """

    kind: str
    environment: str
    turn: float
    level: float
    lamps: tuple[Lamp, ...]
    warmth: float


#: Kind of light: its share, and the environments that go with it.
KINDS = {
    "studio": (0.24, ("studio", "interior")),
    "window": (0.18, ("interior", "studio", "city")),
    "shade": (0.20, ("forest", "city", "courtyard")),
    "sun": (0.13, ("sunrise", "sunset", "city", "forest")),
    "against the light": (0.15, ("sunset", "sunrise", "forest", "interior")),
    "evening": (0.10, ("night", "sunset", "interior")),
}


def warm(amount: float) -> tuple[float, float, float]:
    """Linear color of light, from bluish (-1) to orange (1), of luminance near 1."""
    return (1 + 0.45 * amount, 1 - 0.06 * abs(amount), 1 - 0.55 * amount)


def _side(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _lamp(
    rng: np.random.Generator,
    azimuth: float,
    elevation: tuple[float, float],
    size: tuple[float, float],
    power: tuple[float, float],
    warmth: float,
    distance: float = 1.8,
) -> Lamp:
    return Lamp(
        azimuth=azimuth,
        elevation=float(rng.uniform(*elevation)),
        distance=distance,
        size=float(rng.uniform(*size)),
        power=float(rng.uniform(*power)),
        color=warm(warmth),
    )


def _rim(rng: np.random.Generator, power: tuple[float, float], warmth: float) -> Lamp:
    """From behind, beside the head: it draws the outline of the hair."""
    azimuth = 180 + _side(rng) * rng.uniform(20, 55)
    return _lamp(rng, float(azimuth), (15, 50), (0.3, 0.7), power, warmth, distance=1.6)


def choose_light(rng: np.random.Generator) -> LightChoice:
    """Draw the light of a scene."""
    kind = pick(rng, {name: share for name, (share, _) in KINDS.items()})
    environment = str(rng.choice(KINDS[kind][1]))
    warmth = float(rng.uniform(-0.25, 0.25))
    level = float(rng.uniform(0.35, 0.8))
    side = _side(rng)
    lamps: list[Lamp] = []
    if kind == "studio":
        level = float(rng.uniform(0.12, 0.4))
        lamps.append(_lamp(rng, side * rng.uniform(10, 55), (15, 45), (0.5, 1.2), (22, 40), warmth))
        if rng.random() < 0.6:
            lamps.append(
                _lamp(rng, -side * rng.uniform(30, 65), (0, 25), (0.8, 1.4), (5, 14), warmth)
            )
        if rng.random() < 0.6:
            lamps.append(_rim(rng, (10, 30), -warmth))
    elif kind == "window":
        warmth = float(rng.uniform(-0.3, 0.05))
        level = float(rng.uniform(0.1, 0.35))
        azimuth = side * rng.uniform(40, 85)
        lamps.append(_lamp(rng, azimuth, (5, 30), (1.2, 2.0), (40, 75), warmth, distance=2.0))
    elif kind == "shade":
        level = float(rng.uniform(0.6, 1.0))
        lamps.append(_lamp(rng, side * rng.uniform(0, 60), (35, 65), (1.5, 2.0), (5, 14), warmth))
    elif kind == "sun":
        warmth = float(rng.uniform(0.05, 0.5))
        azimuth = side * rng.uniform(25, 70)
        lamps.append(_lamp(rng, azimuth, (25, 55), (0.1, 0.3), (30, 55), warmth))
    elif kind == "against the light":
        warmth = float(rng.uniform(0.0, 0.5))
        azimuth = 180 + side * rng.uniform(8, 40)
        lamps.append(_lamp(rng, azimuth, (10, 40), (0.3, 0.9), (60, 120), warmth))
        lamps.append(_lamp(rng, side * rng.uniform(0, 50), (5, 30), (1.2, 1.8), (8, 18), 0.0))
    else:
        warmth = float(rng.uniform(0.3, 0.8))
        level = float(rng.uniform(0.05, 0.2))
        lamps.append(_lamp(rng, side * rng.uniform(20, 65), (0, 35), (0.2, 0.6), (12, 24), warmth))
        lamps.append(_rim(rng, (6, 25), float(rng.uniform(-0.8, 0.6))))
    return LightChoice(
        kind=kind,
        environment=environment,
        turn=float(rng.uniform(0, 2 * math.pi)),
        level=level,
        lamps=tuple(lamps),
        warmth=warmth,
    )


def environment_gain(choice: LightChoice) -> float:
    """Factor that brings the environment map to the level of the choice."""
    pixels = read_environment_map(choice.environment)
    latitude = (np.arange(len(pixels)) + 0.5) / len(pixels) * math.pi
    rows = luminance(pixels).mean(axis=1)
    return choice.level / float(np.average(rows, weights=np.sin(latitude)))


# Width of the environment map's importance table: the lamps carry the sharp light.
IMPORTANCE_RESOLUTION = 256


def build_light(choice: LightChoice, face: np.ndarray) -> None:
    """Put the light into the scene.

    Parameters
    ----------
    face : (3,) ndarray
        What the lamps look at, in the scene's axes.
    """
    import bpy
    from mathutils import Vector

    from data_prep.render.base.blender import NodeTree, link, load_image

    world = bpy.data.worlds.new("environment")
    bpy.context.scene.world = world
    tree = NodeTree(world)
    turned = tree.mapping(
        tree.node("ShaderNodeTexCoord").outputs["Generated"], Rotation=(0, 0, choice.turn)
    )
    image = load_image(environment_map_path(choice.environment), "Linear Rec.709")
    texture = tree.node("ShaderNodeTexEnvironment", {"Vector": turned}, image=image)
    background = tree.node(
        "ShaderNodeBackground", {"Color": texture, "Strength": environment_gain(choice)}
    )
    tree.set(tree.node("ShaderNodeOutputWorld").inputs["Surface"], background)
    world.cycles.sampling_method = "MANUAL"
    world.cycles.sample_map_resolution = IMPORTANCE_RESOLUTION
    for lamp in choice.lamps:
        data = bpy.data.lights.new("lamp", "AREA")
        data.size = lamp.size
        data.energy = lamp.power
        data.color = lamp.color
        away = direction(lamp.azimuth, lamp.elevation)
        placed = link(bpy.data.objects.new("lamp", data))
        placed.location = face + lamp.distance * away
        placed.rotation_euler = Vector(-away).to_track_quat("-Z", "Y").to_euler()
