"""A hand near the face: gestures, and the arm that brings it there.

The hand is placed on the posed head first; two bones then reach it from the
shoulder.  What cannot be reached without bending a wrist too far or running
through the body is not done (`arm_rotations` returns None).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.render.base.geometry import quad_samples, vertex_normals
from data_prep.render.base.randomness import pick
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import rotation, transform, unit
from data_prep.render.people.body import BaseMesh, bone_share, pose
from data_prep.render.people.expression import Subject

SHARE = 0.12  # of portraits for which a gesture is drawn; some prove impossible


@dataclass(frozen=True)
class Gesture:
    """Where a left hand goes; a right one is its mirror image.

    Attributes
    ----------
    share : float
        Among gestures.
    contact : (3,) tuple
        Where on the head the hand rests, in rest coordinates.
    fingers : (3,) tuple
        Direction from the wrist to the knuckles, in the head's axes.
    palm : (3,) tuple
        Direction that the palm faces.
    approach : (3,) tuple
        Direction from the contact in which the hand is moved to clear the skin.
    pad : (float, float)
        The part of the hand that rests there: meters from the wrist toward the
        knuckles, and from the hand's middle toward the palm.
    curl : (float, float)
        Least and most bend of each finger joint, in degrees.
    clearance : float
        Meters between hand and skin.
    shrug : float
        Degrees that the shoulder is raised.
    """

    share: float
    contact: tuple[float, float, float]
    fingers: tuple[float, float, float]
    palm: tuple[float, float, float]
    approach: tuple[float, float, float]
    pad: tuple[float, float]
    curl: tuple[float, float]
    clearance: float = 0.0006
    shrug: float = 4.0


GESTURES = {
    "cheek": Gesture(
        0.26,
        (0.060, -0.085, 0.668),
        (0.06, 0.22, 1.0),
        (-0.85, 0.5, 0.05),
        (0.85, -0.5, -0.1),
        (0.085, 0.012),
        (2, 9),
    ),
    "chin": Gesture(
        0.26,
        (0.024, -0.120, 0.628),
        (-0.35, 0.45, 0.82),
        (-0.5, 0.75, -0.4),
        (0.35, -0.80, -0.45),
        (0.095, 0.0),
        (50, 70),
    ),
    "hair": Gesture(
        0.18,
        (0.074, -0.02, 0.795),
        (-0.25, 0.40, 0.88),
        (-1.0, 0.1, -0.1),
        (1.0, -0.1, 0.1),
        (0.12, 0.014),
        (10, 26),
        clearance=0.006,
        shrug=10.0,
    ),
    "collar": Gesture(
        0.15,
        (0.005, -0.12, 0.535),
        (-0.80, -0.05, 0.6),
        (-0.1, 1.0, 0.1),
        (0.0, -1.0, 0.0),
        (0.09, 0.014),
        (10, 28),
        clearance=0.022,
    ),
    "raised": Gesture(
        0.15,
        (0.205, -0.16, 0.66),
        (0.08, 0.02, 1.0),
        (-0.15, -1.0, 0.0),
        (1.0, -0.3, 0.0),
        (0.09, 0.0),
        (2, 14),
        clearance=0.01,
    ),
}

REACH = 0.985  # of the arm's length at which it counts as stretched
WRIST_LIMIT, TWIST_LIMIT = 72.0, 115.0  # degrees
DEEPEST = -0.004  # meters that arm and hand may sink into the body
ARM_ROOM = 0.050  # meters from the middle of the arm to the skin of the trunk
GRID = 0.01  # meters, of the field of head and trunk


@dataclass(frozen=True)
class HandChoice:
    """A hand near the face.

    Attributes
    ----------
    gesture : str
        Key of `GESTURES`.
    side : int
        1 the left hand, -1 the right.
    curl, spread : float
        Degrees that each joint of the fingers is bent, and fingers spread.
    shift : (3,) tuple of float
        Movement of the contact, in meters.
    tilt : float
        Degrees that the hand is turned about the direction it faces.
    """

    gesture: str
    side: int
    curl: float
    spread: float
    shift: tuple[float, float, float]
    tilt: float


def choose_hand(rng: np.random.Generator, hatted: bool = False) -> HandChoice | None:
    """Draw a gesture for `SHARE` of the portraits; None for the others.

    Parameters
    ----------
    hatted : bool, default False
        Whether a hat is in the way of a hand in the hair.
    """
    if rng.random() > SHARE:
        return None
    shares = {name: gesture.share for name, gesture in GESTURES.items()}
    if hatted:
        del shares["hair"]
    name = pick(rng, shares)
    return HandChoice(
        gesture=name,
        side=int(rng.choice([1, -1])),
        curl=float(rng.uniform(*GESTURES[name].curl)),
        spread=float(rng.uniform(0, 5)),
        shift=tuple(float(v) for v in rng.normal(0, 0.004, 3)),
        tilt=float(rng.normal(0, 6)),
    )


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Right-handed axes (3, 3), as columns: `first`, `second` made square to it, their cross."""
    x = unit(first)
    y = unit(second - (second @ x) * x)
    return np.stack([x, y, np.cross(x, y)], axis=1)


@dataclass(frozen=True, eq=False)
class Arm:
    """An arm of the standing body.

    Attributes
    ----------
    shoulder, elbow, wrist : (3,) ndarray
    forward, palm : (3,) ndarray
        Unit vectors from the wrist to the knuckles, and out of the palm.
    across : (3,) ndarray
        About which fingers bend toward the palm by positive angles.
    """

    shoulder: np.ndarray
    elbow: np.ndarray
    wrist: np.ndarray
    forward: np.ndarray
    palm: np.ndarray
    across: np.ndarray


def standing_arm(mesh: BaseMesh, standing: np.ndarray, side: int) -> Arm:
    """The arm on `side` (1 left, -1 right) of a standing body."""
    letter = "l" if side > 0 else "r"

    def joint(name: str) -> np.ndarray:
        return mesh.joint(standing, f"joint-{letter}-{name}")

    wrist = joint("hand")
    axes = _frame(joint("finger-3-1") - wrist, joint("finger-5-1") - joint("finger-2-1"))
    forward, palm = axes[:, 0], axes[:, 2]
    # Relaxed fingers are bent a little toward the palm.
    bend = joint("finger-3-4") - joint("finger-3-1")
    if bend @ palm < 0:
        palm = -palm
    return Arm(joint("shoulder"), joint("elbow"), wrist, forward, palm, np.cross(forward, palm))


def finger_rotations(arm: Arm, choice: HandChoice) -> dict[str, np.ndarray]:
    """Bend of every finger joint, for `body.pose`."""
    letter = "L" if choice.side > 0 else "R"
    rotations = {}
    for finger in range(2, 6):
        fan = choice.spread * (3.3 - finger) * choice.side
        for joint, share in ((1, 1.0), (2, 1.15), (3, 0.7)):
            # The little finger bends most.
            angle = share * choice.curl * (0.85 + 0.07 * (finger - 2))
            turn = rotation(arm.across, angle)
            if joint == 1:
                turn = rotation(arm.palm, fan) @ turn
            rotations[f"finger{finger}-{joint}.{letter}"] = turn
    for joint, share in ((2, 0.35), (3, 0.45)):
        rotations[f"finger1-{joint}.{letter}"] = rotation(arm.across, share * choice.curl)
    return rotations


def trunk_field(subject: Subject) -> SignedDistance:
    """Distance to the posed head and trunk, without arms."""
    mesh = subject.mesh
    quads = mesh.faces[mesh.faces_of("body")]
    arms = bone_share(mesh, ("clavicle", "shoulder01"))
    trunk = quads[(arms[quads] < 0.35).all(axis=1)]
    neck = subject.joint("joint-neck")
    low, high = neck + [-0.26, -0.34, -0.45], neck + [0.26, 0.18, 0.30]
    near = ((subject.vertices[trunk] > low) & (subject.vertices[trunk] < high)).all(axis=(1, 2))
    samples = quad_samples(subject.vertices, trunk[near], 0.8 * GRID)
    normals = unit(samples @ vertex_normals(subject.vertices, quads))
    field = SignedDistance.around([(samples @ subject.vertices, normals)], low, high, GRID)
    # Beyond the shoulders, where the arms are cut off, nothing is inside.
    half = abs(subject.joint("joint-l-shoulder") - subject.joint("joint-r-shoulder"))[0] / 2
    beyond = np.abs(low[0] + GRID * np.arange(len(field.values)) - neck[0]) > 0.85 * half
    values = np.where(beyond[:, None, None], np.abs(field.values), field.values)
    return SignedDistance(values, field.to_grid, field.scale)


def _touching(
    field: SignedDistance, hand: np.ndarray, away: np.ndarray, clearance: float
) -> float | None:
    """First shift along `away`, in meters, at which the hand comes out of the body.

    None where no shift within reach leaves all its points at least `clearance`
    meters off.
    """
    shifts = np.arange(-0.05, 0.08, 0.0015)
    nearest = np.array([field(hand + shift * away).min() for shift in shifts])
    touching = int(np.argmax(nearest < clearance))
    clear = np.flatnonzero(nearest[touching:] >= clearance)
    return float(shifts[touching + clear[0]]) if len(clear) else None


def _elbows(shoulder: np.ndarray, wrist: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """Places (K, 3) that the elbow can have; none where the wrist is out of reach."""
    axis = wrist - shoulder
    distance = np.linalg.norm(axis)
    if not abs(upper - lower) < distance < REACH * (upper + lower):
        return np.empty((0, 3))
    along = (distance**2 + upper**2 - lower**2) / (2 * distance)
    radius = np.sqrt(upper**2 - along**2)
    axes = _frame(axis, np.array([0.0, 0.0, -1.0]))
    angle = np.linspace(-np.pi, np.pi, 48, endpoint=False)
    circle = np.cos(angle)[:, None] * axes[:, 1] + np.sin(angle)[:, None] * axes[:, 2]
    return shoulder + along * axes[:, 0] + radius * circle


def _twist(turn: np.ndarray, axis: np.ndarray) -> float:
    """Degrees by which a rotation (3, 3) turns about `axis`."""
    vector = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return float(np.degrees(2 * np.arctan2(vector @ axis, 1 + np.trace(turn))))


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(unit(a) @ unit(b), -1, 1))))


def arm_rotations(choice: HandChoice, subject: Subject) -> dict[str, np.ndarray] | None:
    """Rotations of the bones of one arm that put its hand where the gesture wants it.

    Parameters
    ----------
    subject : Subject
        Posed with hanging arms.

    Returns
    -------
    dict of str to (3, 3) ndarray, or None
        For `build_subject`; None where the gesture is not possible for this
        body and pose of the head.
    """
    gesture, mesh, side = GESTURES[choice.gesture], subject.mesh, choice.side
    letter = "L" if side > 0 else "R"
    mirror = np.array([side, 1.0, 1.0])
    standing = subject.standing
    arm = standing_arm(mesh, standing, side)
    field = trunk_field(subject)

    head = subject.head[:3, :3] / subject.head_scale
    head_turn = np.eye(3) if choice.gesture == "collar" else head
    contact = transform(subject.head, np.array(gesture.contact) * mirror) + np.array(choice.shift)
    if choice.gesture == "collar":
        contact = subject.joint("joint-neck") + (np.array(gesture.contact) - [0, 0, 0.6]) * mirror
    forward, palm, away = (
        unit(head_turn @ (np.array(v) * mirror))
        for v in (gesture.fingers, gesture.palm, gesture.approach)
    )
    forward = rotation(palm, choice.tilt) @ forward
    # Axes of the hand, and the rotation from the standing hand to the wanted one.
    hand_turn = _frame(forward, palm) @ _frame(arm.forward, arm.palm).T

    fingers = finger_rotations(arm, choice)
    bent, _ = pose(mesh, standing, fingers)
    in_hand = bone_share(mesh, (f"wrist.{letter}",)) > 0.5
    hand = (bent[in_hand] - arm.wrist) @ hand_turn.T
    pad = hand_turn @ (gesture.pad[0] * arm.forward + gesture.pad[1] * arm.palm)
    wrist = contact - pad
    shift = _touching(field, wrist + hand, away, gesture.clearance)
    if shift is None:
        return None
    wrist = wrist + shift * away

    # The shoulder rises a little; the rest of the chain reaches the wrist.
    raised = rotation((0, 1, 0), -side * gesture.shrug)
    hinge = standing[mesh.bones[f"clavicle.{letter}"].head].mean(axis=0)
    shoulder = hinge + raised @ (arm.shoulder - hinge)
    upper = np.linalg.norm(arm.elbow - arm.shoulder)
    lower = np.linalg.norm(arm.wrist - arm.elbow)
    best, least = None, np.inf
    for elbow in _elbows(shoulder, wrist, upper, lower):
        bend = _angle(wrist - elbow, forward)
        # The elbow and the middles of both halves of the arm keep off the trunk.
        places = np.stack([elbow, 0.5 * (elbow + wrist), 0.5 * (elbow + shoulder)])
        lacking = np.maximum(ARM_ROOM - field(places), 0) * [1.0, 1.0, 0.3]
        outward = side * (elbow[0] - shoulder[0])
        cost = bend + 2000 * lacking.sum() + 150 * max(0, elbow[2] - shoulder[2])
        cost += 100 * max(0, -outward - 0.03)
        if cost < least:
            best, least = elbow, cost
    if best is None or _angle(wrist - best, forward) > WRIST_LIMIT:
        return None

    upper0, lower0 = arm.elbow - arm.shoulder, arm.wrist - arm.elbow
    upper1, lower1 = best - shoulder, wrist - best
    axis0, axis1 = np.cross(upper0, lower0), np.cross(upper1, lower1)
    turn_upper = _frame(upper1, axis1) @ _frame(upper0, axis0).T
    turn_lower = _frame(lower1, axis1) @ _frame(lower0, axis0).T
    twist = _twist(turn_lower.T @ hand_turn, unit(lower0))
    if abs(twist) > TWIST_LIMIT:
        return None
    half = rotation(lower0, 0.5 * twist)
    rotations = {
        f"clavicle.{letter}": raised,
        f"shoulder01.{letter}": np.eye(3),
        f"upperarm01.{letter}": raised.T @ turn_upper,
        f"upperarm02.{letter}": np.eye(3),
        f"lowerarm01.{letter}": turn_upper.T @ turn_lower,
        f"lowerarm02.{letter}": half,
        f"wrist.{letter}": (turn_lower @ half).T @ hand_turn,
        **fingers,
    }
    posed, _ = pose(mesh, standing, rotations)
    moving = bone_share(mesh, (f"lowerarm01.{letter}",)) > 0.9
    if field(posed[moving]).min() < DEEPEST:
        return None
    return rotations
