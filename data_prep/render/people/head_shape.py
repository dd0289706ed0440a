"""A person's head in the axes of rest coordinates: what glasses and hats are fitted to."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from data_prep.render.base.geometry import quad_samples
from data_prep.render.base.vectors import transform, unit
from data_prep.render.people.expression import Subject

SKULL_CENTER = np.array([0.0, -0.045, 0.765])  # rest coordinates
EAR_WIDTH = 0.0715  # meters from the middle beyond which there are only ears
SAMPLE_SPACING = 0.006


class HeadShape:
    """The head of a subject, moved to where the average head is.

    It has the average's place, size and direction and the person's own shape, so
    that what is made next to it is put on the posed head by `Subject.head`.

    Attributes
    ----------
    own : (N, 3) float64 ndarray
        All vertices of the body, in the axes of rest coordinates.
    points : (M, 3) float64 ndarray
        Dense samples of the skin of head and neck.
    rest : (M, 3) float64 ndarray
        Their rest coordinates.
    """

    def __init__(self, subject: Subject) -> None:
        mesh, rest = subject.mesh, subject.rest
        self.own = transform(np.linalg.inv(subject.head), subject.vertices)
        quads = mesh.faces[mesh.faces_of("body")]
        quads = quads[rest[quads][:, :, 2].min(axis=1) > 0.64]
        samples = quad_samples(self.own, quads, SAMPLE_SPACING)
        self.points = samples @ self.own
        self.rest = samples @ rest
        skull = (self.rest[:, 2] > 0.70) & ~self._on_ear(self.rest)
        offsets = self.points[skull] - SKULL_CENTER
        self._directions = cKDTree(unit(offsets))
        self._radii = np.linalg.norm(offsets, axis=1)
        middle = [mesh.vertex_groups[f"helper-{side}-eye"] for side in "lr"]
        self.eyes = np.array([self.own[ball].mean(axis=0) for ball in middle])
        self.eye_radius = float(
            np.median(np.linalg.norm(self.own[middle[0]] - self.eyes[0], axis=1))
        )

    @staticmethod
    def _on_ear(rest: np.ndarray) -> np.ndarray:
        return (np.abs(rest[:, 0]) > EAR_WIDTH) & (rest[:, 2] < 0.752)

    def skull_radius(self, directions: np.ndarray) -> np.ndarray:
        """Meters (...) from `SKULL_CENTER` to the skin in unit directions (..., 3); no ears."""
        distances, nearest = self._directions.query(directions, k=12)
        closeness = np.exp(-((distances / 0.09) ** 2)) + 1e-9
        return (closeness * self._radii[nearest]).sum(axis=-1) / closeness.sum(axis=-1)

    def front(self, x: float, z: float, radius: float = 0.004) -> float:
        """y of the foremost skin about a place of the face."""
        near = np.hypot(self.points[:, 0] - x, self.points[:, 2] - z) < radius
        near &= self.points[:, 1] < SKULL_CENTER[1]
        if not near.any():
            near = np.hypot(self.points[:, 0] - x, self.points[:, 2] - z).argsort()[:3]
        return float(self.points[near, 1].min())

    def half_width(self, y: float, z: float, side: int, reach: float = 0.008) -> float:
        """Largest distance of the skin from the middle near (y, z), ears left out."""
        points = self.points
        near = (np.hypot(points[:, 1] - y, points[:, 2] - z) < reach) & (side * points[:, 0] > 0)
        near &= ~self._on_ear(self.rest)
        return float(np.abs(points[near, 0]).max()) if near.any() else 0.0

    def ear_points(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Where an ear joins the head at its top, and the lower end of its lobe, (3,) each.

        Parameters
        ----------
        side : int
            1 left, -1 right.
        """
        rest, points = self.rest, self.points
        ear = self._on_ear(rest) & (side * rest[:, 0] > 0)
        top = points[ear & (rest[:, 2] > 0.735)].mean(axis=0)
        low = points[ear]
        lobe = low[np.argsort(low[:, 2])[:6]].mean(axis=0)
        root = np.array([side * self.half_width(top[1], top[2], side, 0.012), top[1], top[2]])
        return root, lobe
