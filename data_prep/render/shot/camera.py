"""Where the camera stands and how it is set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data_prep.datasets.dataset import FRAME
from data_prep.render.base.randomness import clipped_normal, pick

HEAD_HEIGHT = 0.24  # meters, chin to crown of an average adult

APERTURES = {"2": 0.25, "2.8": 0.3, "4": 0.25, "5.6": 0.2}
SENSOR_HEIGHT = 0.024  # meters


def direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector from the face, in the scene's axes.

    Parameters
    ----------
    azimuth, elevation : float
        Degrees from straight in front: to the right as the camera sees it, and up.
    """
    azimuth, elevation = math.radians(azimuth), math.radians(elevation)
    return np.array(
        [
            math.sin(azimuth) * math.cos(elevation),
            -math.cos(azimuth) * math.cos(elevation),
            math.sin(elevation),
        ]
    )


@dataclass(frozen=True)
class CameraChoice:
    """A camera that looks at a face.

    Attributes
    ----------
    distance : float
        To the face, meters.
    head_share : float
        Height of an average head against the height of the frame: keeps the
        rectangles of faces similar, as the paper's are.
    azimuth, elevation : float
        Where it stands, as in `direction`.
    offset : (2,) tuple of float
        How far to the right of the middle of the frame, and above it, the face
        is, in heights of the frame.
    roll : float
        Degrees.
    f_number : float
        Aperture: smaller is softer on shoulders.
    """

    distance: float
    head_share: float
    azimuth: float
    elevation: float
    offset: tuple[float, float]
    roll: float
    f_number: float

    @property
    def field_of_view(self) -> float:
        """Vertical, in radians."""
        return 2 * math.atan(HEAD_HEIGHT / self.head_share / 2 / self.distance)


def choose_camera(rng: np.random.Generator) -> CameraChoice:
    """Draw a camera: a portrait lens at 1.2 to 2.2 m, nearly at the height of the eyes."""
    return CameraChoice(
        distance=float(rng.uniform(1.2, 2.2)),
        head_share=float(rng.uniform(0.36, 0.46)),
        azimuth=clipped_normal(rng, 0.0, 4.0, -10.0, 10.0),
        elevation=clipped_normal(rng, 0.0, 5.0, -12.0, 12.0),
        offset=(clipped_normal(rng, 0.0, 0.03, -0.08, 0.08), float(rng.uniform(0.06, 0.15))),
        roll=clipped_normal(rng, 0.0, 1.2, -4.0, 4.0),
        f_number=float(pick(rng, APERTURES)),
    )


@dataclass(frozen=True, eq=False)
class View:
    """A camera in the scene.

    Attributes
    ----------
    to_world : (4, 4) float64 ndarray
        From the camera (x right, y up, looking along -z) to the scene.
    field_of_view : float
        Vertical, in radians.
    """

    to_world: np.ndarray
    field_of_view: float

    def project(self, points: np.ndarray, shape: tuple[int, int] = FRAME) -> np.ndarray:
        """Pixels of points of the scene.

        Parameters
        ----------
        points : (N, 3) ndarray
            Before the camera.
        shape : (H, W)
            Shape of the photo, in pixels.

        Returns
        -------
        (N, 2) float64 ndarray
            x to the right and y down; the center of the first pixel is (0, 0).
        """
        height, width = shape
        local = (points - self.to_world[:3, 3]) @ self.to_world[:3, :3]
        scale = height / 2 / math.tan(self.field_of_view / 2) / -local[:, 2]
        return np.stack(
            [width / 2 + local[:, 0] * scale - 0.5, height / 2 - local[:, 1] * scale - 0.5],
            axis=1,
        )


def view_of(choice: CameraChoice, face: np.ndarray) -> View:
    """The camera of a choice, directed at a face.

    Parameters
    ----------
    face : (3,) ndarray
        Center of the face, in the scene's axes.
    """
    back = direction(choice.azimuth, choice.elevation)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    # The camera moves sideways instead of turning, so that offsets change no angles.
    shift = (HEAD_HEIGHT / choice.head_share) * np.array(choice.offset)
    position = face + back * choice.distance - right * shift[0] - up * shift[1]
    roll = math.radians(choice.roll)
    to_world = np.eye(4)
    to_world[:3, 0] = math.cos(roll) * right + math.sin(roll) * up
    to_world[:3, 1] = math.cos(roll) * up - math.sin(roll) * right
    to_world[:3, 2] = back
    to_world[:3, 3] = position
    return View(to_world, choice.field_of_view)
