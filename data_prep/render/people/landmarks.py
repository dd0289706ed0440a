"""The 68 facial landmarks (iBUG order) as points of the mesh.

Each is a weighted mean of a few vertices.  Those of the jaw's contour wander
over the skin as the head turns, as dlib's do: their weights are interpolated
between views.  `fit_landmarks` computes the table.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from data_prep.render.base.vectors import unit
from data_prep.render.people.expression import Subject

TABLE = Path(__file__).with_name("landmark_points.json")

# Head yaws in degrees between which weights are interpolated.
YAWS = (-24.0, -12.0, 0.0, 12.0, 24.0)

JAW = range(17)


def view_yaw(head: np.ndarray, camera: np.ndarray) -> float:
    """How far a head looks past the camera, degrees.

    Parameters
    ----------
    head : (4, 4) ndarray
        `Subject.head`.
    camera : (3,) ndarray
        Position, in the same axes as `head`'s result.

    Returns
    -------
    float
        Positive where the camera sees more of the subject's left side.
    """
    eyes = head[:3, :3] @ [0.0, -0.12, 0.735] + head[:3, 3]
    x, y, _ = head[:3, :3].T @ unit(camera - eyes)
    return float(np.degrees(np.arctan2(x, -y)))


def yaw_shares(yaw: float) -> np.ndarray:
    """Weights of `YAWS` at a yaw: linear between two, constant beyond the ends; (5,)."""
    return np.array([np.interp(yaw, YAWS, row) for row in np.eye(len(YAWS))])


@functools.cache
def _table() -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Vertices and weights of every landmark, at one yaw or at all `YAWS`."""
    rows = json.loads(TABLE.read_text())["landmarks"]
    return [
        [(np.array(view["vertices"]), np.array(view["weights"])) for view in row] for row in rows
    ]


def landmark_points(subject: Subject, camera: np.ndarray) -> np.ndarray:
    """Landmarks of a posed subject.

    Parameters
    ----------
    camera : (3,) ndarray
        Where it is seen from, in the subject's axes.

    Returns
    -------
    (68, 3) float64 ndarray
        In the subject's axes.
    """
    shares = yaw_shares(view_yaw(subject.head, camera))

    def point(views: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        means = np.array([weights @ subject.vertices[vertices] for vertices, weights in views])
        return means[0] if len(views) == 1 else shares @ means

    return np.array([point(views) for views in _table()])


def interocular_distance(landmarks: np.ndarray) -> float:
    """Distance between the outer corners of the eyes; `landmarks` is (68, 2) or (68, 3)."""
    return float(np.linalg.norm(landmarks[36] - landmarks[45]))
