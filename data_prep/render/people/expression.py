"""How a person is portrayed: expression, gaze, head and body; and the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from data_prep.render.base.randomness import clipped_normal, pick
from data_prep.render.base.vectors import rotation, unit
from data_prep.render.people.body import BaseMesh, pose, rest_coordinates
from data_prep.render.people.person import PersonChoice, person_shape

SIDES = {"l": ("Left", "L", 1), "r": ("Right", "R", -1)}  # face units, bones, sign of x

# Face units at full strength; "Both" stands for Left and Right.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "slight smile": {"mouthSmileBoth": 0.6, "cheekSquintBoth": 0.2},
    "smile": {"mouthSmileBoth": 0.95, "cheekSquintBoth": 0.35, "eyeSquintBoth": 0.1},
    "open smile": {
        "mouthSmileBoth": 0.92,
        "cheekSquintBoth": 0.4,
        "eyeSquintBoth": 0.15,
        "mouthUpperUpBoth": 0.5,
        "mouthLowerDownBoth": 0.2,
        "jawOpen": 0.09,
    },
    "laugh": {
        "mouthSmileBoth": 0.95,
        "cheekSquintBoth": 0.55,
        "eyeSquintBoth": 0.3,
        "mouthUpperUpBoth": 0.5,
        "mouthLowerDownBoth": 0.3,
        "jawOpen": 0.22,
    },
    "parted lips": {"jawOpen": 0.09, "mouthLowerDownBoth": 0.1},
    "pressed lips": {"mouthPressBoth": 0.5, "mouthRollLower": 0.25, "mouthDimpleBoth": 0.2},
    "serious": {"browDownBoth": 0.35, "mouthPressBoth": 0.15},
    "surprised": {"browInnerUp": 0.5, "browOuterUpBoth": 0.5, "eyeWideBoth": 0.3, "jawOpen": 0.1},
    "sad": {"browInnerUp": 0.5, "mouthFrownBoth": 0.3},
    "smirk": {"mouthSmileLeft": 0.55, "cheekSquintLeft": 0.3, "mouthDimpleRight": 0.2},
    "pout": {"mouthPucker": 0.35, "browInnerUp": 0.15},
}
EXPRESSION_SHARES = {
    "neutral": 0.13,
    "slight smile": 0.22,
    "smile": 0.23,
    "open smile": 0.19,
    "laugh": 0.05,
    "parted lips": 0.05,
    "pressed lips": 0.03,
    "serious": 0.03,
    "surprised": 0.02,
    "sad": 0.01,
    "smirk": 0.03,
    "pout": 0.01,
}
GAZE_SHARES = {"camera": 0.72, "near": 0.18, "away": 0.10}
GAZE_SPREAD = {"camera": 1.2, "near": 6.0, "away": 16.0}  # degrees

# The turn of the head is shared by the bones of the neck.
NECK_SHARES = {"neck01": 0.2, "neck02": 0.2, "neck03": 0.25, "head": 0.35}
ARM_SHARES = {"shoulder01": 0.2, "upperarm01": 0.5, "upperarm02": 0.2}
EYE_TURN = 30.0  # degrees of an eye at which the lids' face units are at full strength
CAMERA_DISTANCE = 1.6  # meters, where the eyes converge when no camera is named


@dataclass(frozen=True)
class PoseChoice:
    """Expression, gaze and pose; angles in degrees.

    Attributes
    ----------
    expression : str
        Key of `EXPRESSIONS`.
    face_units : dict of str to float
        Its face units and the person's own habits, for `BaseMesh.morph`.
    gaze : (2,) tuple of float
        Where the eyes look, off the direction to the camera: to the subject's
        left, and up.
    body_yaw : float
        Turn of the whole subject by the scene, counterclockwise from above.
    head_yaw, head_pitch, head_roll : float
        Turn of the head on the body: to its left, chin down, to its right
        shoulder.
    arms_down : float
        From the base mesh's spread arms.
    shoulders_up : tuple of float
        Left, right.
    """

    expression: str
    face_units: dict[str, float]
    gaze: tuple[float, float]
    body_yaw: float
    head_yaw: float
    head_pitch: float
    head_roll: float
    arms_down: float
    shoulders_up: tuple[float, float]


def _choose_face_units(rng: np.random.Generator, expression: str) -> dict[str, float]:
    """The units of an expression at a random strength, unequal on both sides."""
    strength = rng.uniform(0.75, 1.05)
    units: dict[str, float] = {}
    for name, weight in EXPRESSIONS[expression].items():
        sides = ("Left", "Right") if name.endswith("Both") else ("",)
        for side in sides:
            own = weight * strength * rng.uniform(0.9, 1.0)
            units[f"faceunits/{name.removesuffix('Both')}{side}"] = float(own)
    # Small habits that keep neutral faces from looking alike.
    for name, largest in (("browInnerUp", 0.2), ("mouthPucker", 0.08), ("jawForward", 0.1)):
        key = f"faceunits/{name}"
        units[key] = units.get(key, 0.0) + float(rng.uniform(0, largest))
    lids = rng.uniform(-0.12, 0.1)  # heavy to wide
    for side in ("Left", "Right"):
        key = f"faceunits/{'eyeWide' if lids > 0 else 'eyeBlink'}{side}"
        units[key] = units.get(key, 0.0) + abs(float(lids))
    return units


def choose_pose(rng: np.random.Generator) -> PoseChoice:
    """Draw expression, gaze and pose.

    The body turns up to 32 degrees, the head mostly back toward the camera:
    the face stays within about 30 degrees of it, where detectors find it.
    """
    expression = pick(rng, EXPRESSION_SHARES)
    spread = GAZE_SPREAD[pick(rng, GAZE_SHARES)]
    body_yaw = clipped_normal(rng, 0.0, 15.0, -32.0, 32.0)
    return PoseChoice(
        expression=expression,
        face_units=_choose_face_units(rng, expression),
        gaze=(
            clipped_normal(rng, 0.0, spread, -25.0, 25.0),
            clipped_normal(rng, 0.0, 0.5 * spread, -10.0, 10.0),
        ),
        body_yaw=body_yaw,
        head_yaw=clipped_normal(rng, -0.7 * body_yaw, 9.0, -30.0, 30.0),
        head_pitch=clipped_normal(rng, 0.0, 4.0, -8.0, 8.0),
        head_roll=clipped_normal(rng, 0.0, 4.5, -10.0, 10.0),
        arms_down=float(rng.uniform(28.0, 40.0)),
        shoulders_up=(float(rng.uniform(0, 4)), float(rng.uniform(0, 4))),
    )


@dataclass(frozen=True, eq=False)
class Eye:
    """An eyeball: its (3,) center, its radius in meters and its (3,) unit gaze."""

    center: np.ndarray
    radius: float
    gaze: np.ndarray


@dataclass(frozen=True, eq=False)
class Subject:
    """A person in a pose: all that clothes, hair and the camera need to know.

    Attributes
    ----------
    mesh : BaseMesh
    person : PersonChoice
    pose : PoseChoice
    rest : (N, 3) float64 ndarray
        `body.rest_coordinates`: the same place of the body on everybody.
    standing : (N, 3) float64 ndarray
        Shape and expression before the pose, in meters.
    vertices : (N, 3) float64 ndarray
        Posed, in meters, facing -y, before the scene turns the subject.
    head : (4, 4) float64 ndarray
        From rest coordinates of the head to the posed head: scale, rotation
        and translation.
    bones : dict of str to (4, 4) ndarray
        By bone: from the standing to the posed body.
    eyes : tuple of Eye
        Left, right.
    """

    mesh: BaseMesh
    person: PersonChoice
    pose: PoseChoice
    rest: np.ndarray
    standing: np.ndarray
    vertices: np.ndarray
    head: np.ndarray
    bones: dict[str, np.ndarray] = field(repr=False)
    eyes: tuple[Eye, Eye]

    def joint(self, name: str) -> np.ndarray:
        """The (3,) posed center of a vertex group: ``joint-neck``, ``helper-l-eye``…"""
        return self.mesh.joint(self.vertices, name)

    @property
    def head_scale(self) -> float:
        """Size of the head against that of the average adult."""
        return float(np.cbrt(np.linalg.det(self.head[:3, :3])))


def _pose_rotations(choice: PoseChoice) -> dict[str, np.ndarray]:
    rotations = {
        bone: rotation((0, 0, 1), choice.head_yaw * share)
        @ rotation((1, 0, 0), choice.head_pitch * share)
        @ rotation((0, 1, 0), choice.head_roll * share)
        for bone, share in NECK_SHARES.items()
    }
    for (_, side, sign), raised in zip(SIDES.values(), choice.shoulders_up):
        rotations[f"clavicle.{side}"] = rotation((0, 1, 0), sign * raised)
        for bone, share in ARM_SHARES.items():
            rotations[f"{bone}.{side}"] = rotation((0, 1, 0), sign * choice.arms_down * share)
    return rotations


def _between_eyes(mesh: BaseMesh, vertices: np.ndarray) -> np.ndarray:
    return (mesh.joint(vertices, "helper-l-eye") + mesh.joint(vertices, "helper-r-eye")) / 2


def _rest_to_standing(mesh: BaseMesh, rest: np.ndarray, standing: np.ndarray) -> np.ndarray:
    """The (4, 4) scale and shift that puts the average head on a person's.

    It keeps the eyes' midpoint and the height of the head.
    """

    def height(vertices: np.ndarray) -> float:
        return float((mesh.joint(vertices, "joint-head-2") - mesh.joint(vertices, "joint-head"))[2])

    scale = height(standing) / height(rest)
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = _between_eyes(mesh, standing) - scale * _between_eyes(mesh, rest)
    return matrix


def _gaze_directions(
    centers: np.ndarray, camera: np.ndarray, gaze: tuple[float, float]
) -> np.ndarray:
    """Unit vectors (2, 3) from the eyes to what they look at.

    The eyes converge on a point as far away as the camera.
    """
    middle = centers.mean(axis=0)
    toward = camera - middle
    sideways = unit(np.cross([0, 0, 1], toward))  # to the subject's left
    turn = rotation((0, 0, 1), gaze[0]) @ rotation(sideways, -gaze[1])
    return unit(middle + turn @ toward - centers)


def _lid_units(head: np.ndarray, gazes: np.ndarray) -> dict[str, float]:
    """Face units with which the lids follow the eyes."""
    units: dict[str, float] = {}
    for (side, _, sign), gaze in zip(SIDES.values(), gazes):
        x, y, z = head[:3, :3].T @ gaze
        outward = np.degrees(np.arctan2(sign * x, -y)) / EYE_TURN
        upward = np.degrees(np.arctan2(z, np.hypot(x, y))) / EYE_TURN
        for value, positive, negative in ((outward, "Out", "In"), (upward, "Up", "Down")):
            name = positive if value > 0 else negative
            units[f"faceunits/eyeLook{name}{side}"] = float(min(abs(value), 1.0))
    return units


def _eyeballs(mesh: BaseMesh, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centers (2, 3) and radii (2,) of the left and the right eye."""
    balls = [vertices[mesh.vertex_groups[f"helper-{side}-eye"]] for side in SIDES]
    centers = np.array([ball.mean(axis=0) for ball in balls])
    radii = [np.median(np.linalg.norm(b - c, axis=1)) for b, c in zip(balls, centers)]
    return centers, np.array(radii)


def build_subject(
    mesh: BaseMesh,
    person: PersonChoice,
    choice: PoseChoice,
    *,
    camera: np.ndarray | None = None,
    rotations: Mapping[str, np.ndarray] | None = None,
) -> Subject:
    """Shape and pose a person.

    Parameters
    ----------
    camera : (3,) ndarray, optional
        Where the camera stands, in the subject's axes (before the scene turns
        it by ``choice.body_yaw``); by default 1.6 m before the turned subject.
    rotations : mapping of str to (3, 3) ndarray, optional
        Bones posed otherwise than `choice` says (arms that lift a hand); as in
        `body.pose`.
    """
    rest = rest_coordinates(mesh)
    bent = _pose_rotations(choice) | dict(rotations or {})
    standing = person_shape(mesh, person)
    to_standing = _rest_to_standing(mesh, rest, standing)
    # The eyes' place decides the gaze, which moves the lids: pose twice.
    neutral, bones = pose(mesh, standing, bent)
    centers, radii = _eyeballs(mesh, neutral)
    if camera is None:
        forward = rotation((0, 0, 1), -choice.body_yaw) @ np.array([0.0, -1.0, 0.0])
        camera = centers.mean(axis=0) + CAMERA_DISTANCE * forward
    gazes = _gaze_directions(centers, np.asarray(camera), choice.gaze)
    units = dict(choice.face_units)
    for name, weight in _lid_units(bones["head"], gazes).items():
        units[name] = units.get(name, 0.0) + weight
    moved = mesh.morph(standing, units)
    vertices, bones = pose(mesh, moved, bent)
    return Subject(
        mesh=mesh,
        person=person,
        pose=choice,
        rest=rest,
        standing=moved,
        vertices=vertices,
        head=bones["head"] @ to_standing,
        bones=bones,
        eyes=tuple(Eye(c, float(r), g) for c, r, g in zip(centers, radii, gazes)),
    )
