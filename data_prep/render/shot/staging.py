"""The posed subject before the camera: geometry of a photo, without Blender."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data_prep.render.base.vectors import rotation, transform
from data_prep.render.people.body import BaseMesh
from data_prep.render.people.expression import Subject, build_subject
from data_prep.render.people.hands import arm_rotations
from data_prep.render.shot.camera import HEAD_HEIGHT, View, view_of
from data_prep.render.shot.portrait import PortraitChoice

FACE_CENTER = (0.0, -0.05, 0.73)  # rest coordinates
FACE_RADIUS = 0.22  # of the circle that exposure looks at, in heights of the head


@dataclass(frozen=True, eq=False)
class Staging:
    """A subject that looks at its camera.

    Attributes
    ----------
    subject : Subject
    to_scene : (4, 4) float64 ndarray
        From the subject's axes to the scene's.
    view : View
    face : (3,) float64 ndarray
        Center of the face, in the scene's axes.
    """

    subject: Subject
    to_scene: np.ndarray
    view: View
    face: np.ndarray

    @property
    def camera(self) -> np.ndarray:
        """Where the camera stands, (3,) in the subject's axes."""
        return transform(np.linalg.inv(self.to_scene), self.view.to_world[:3, 3])

    @property
    def focus(self) -> np.ndarray:
        """Between the eyes, (3,) in the scene's axes."""
        return transform(self.to_scene, np.mean([eye.center for eye in self.subject.eyes], axis=0))

    def project(self, points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Pixels (N, 2) of points (N, 3) in the subject's axes, as `View.project`."""
        return self.view.project(transform(self.to_scene, points), shape)

    def face_circle(self, shape: tuple[int, int]) -> tuple[float, float, float]:
        """Where the face is in a photo of shape (H, W): x, y and radius in pixels."""
        x, y = self.view.project(self.face[None], shape)[0]
        depth = (self.view.to_world[:3, 3] - self.face) @ self.view.to_world[:3, 2]
        head = HEAD_HEIGHT * shape[0] / 2 / math.tan(self.view.field_of_view / 2) / depth
        return float(x), float(y), FACE_RADIUS * float(head)


def stage(mesh: BaseMesh, choice: PortraitChoice) -> Staging:
    """Pose the subject of a photo before its camera."""
    to_scene = np.eye(4)
    to_scene[:3, :3] = rotation((0, 0, 1), choice.pose.body_yaw)
    # Where the face is does not depend on where the eyes look.
    blind = build_subject(mesh, choice.person, choice.pose)
    face = transform(to_scene @ blind.head, np.array(FACE_CENTER))
    view = view_of(choice.camera, face)
    camera = transform(np.linalg.inv(to_scene), view.to_world[:3, 3])
    rotations = arm_rotations(choice.hand, blind) if choice.hand else None
    subject = build_subject(mesh, choice.person, choice.pose, camera=camera, rotations=rotations)
    return Staging(subject, to_scene, view, face)
