"""Find the 68 landmarks on the mesh from rendered portraits and dlib.

    .venv/bin/python -m data_prep.render.fit_landmarks FOLDER...   # written by `make portraits`

writes `landmark_points.json`, which `landmarks` reads.  Needs dlib, not Blender.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls
from scipy.spatial import cKDTree
from tqdm import tqdm

from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.common.images import read_photo
from data_prep.common.landmark_scheme import LANDMARK_COUNT, MIRRORED
from data_prep.common.options import named_path
from data_prep.render.base.assets import body_data_dir
from data_prep.render.people.body import BaseMesh, read_base_mesh, rest_coordinates
from data_prep.render.people.landmarks import (
    JAW,
    TABLE,
    YAWS,
    interocular_distance,
    view_yaw,
)
from data_prep.render.shot.photo import read_meta
from data_prep.render.shot.portrait import choose_portrait
from data_prep.render.shot.staging import stage

if TYPE_CHECKING:  # the fit itself works without dlib, which the studio lacks
    from data_prep.common.landmarks import LandmarkDetector

LARGEST_ERROR = 0.10  # of the inter-ocular distance: beyond, dlib is thought to err
NEIGHBORS = 24  # vertices among which a landmark is interpolated
REWEIGHTINGS = 6
LEAST_WEIGHT = 0.02
YAW_WINDOW = 8.0  # degrees: deviation of the weights of portraits about a yaw
FEWEST_PORTRAITS = 20


@dataclass(frozen=True, eq=False)
class Observation:
    """A portrait: where dlib sees the landmarks, and where the vertices are.

    Attributes
    ----------
    vertices : (V, 2) ndarray
        Candidate vertices in pixels.
    landmarks : (68, 2) ndarray
        dlib's, in pixels.
    yaw : float
        `landmarks.view_yaw`.
    """

    vertices: np.ndarray
    landmarks: np.ndarray
    yaw: float

    @property
    def size(self) -> float:
        """Inter-ocular distance in pixels."""
        return interocular_distance(self.landmarks)

    def mirrored(self, twins: np.ndarray) -> Observation:
        """The portrait in a mirror; `twins` holds each vertex's mirror image, (V,)."""
        flip = np.array([-1.0, 1.0])
        return Observation(self.vertices[twins] * flip, self.landmarks[MIRRORED] * flip, -self.yaw)


def candidate_vertices(mesh: BaseMesh, rest: np.ndarray) -> np.ndarray:
    """Vertices of the skin of the face and the sides of the head, (V,)."""
    skin = np.unique(mesh.faces[mesh.faces_of("body")])
    _, y, z = rest[skin].T
    return skin[(z > 0.60) & (z < 0.78) & (y < 0.03)]


def mirror_images(points: np.ndarray) -> np.ndarray:
    """Index of the point nearest to the mirror image (x to -x) of each, (V,)."""
    return cKDTree(points).query(points * [-1.0, 1.0, 1.0])[1]


def _best_vertex(observations: Sequence[Observation], landmark: int, shares: np.ndarray) -> int:
    """The vertex closest to a landmark over all portraits, weighted by `shares`."""
    errors = [
        np.linalg.norm(o.vertices - o.landmarks[landmark], axis=1) / o.size for o in observations
    ]
    return int((shares @ np.minimum(errors, LARGEST_ERROR)).argmin())


def _interpolation(
    observations: Sequence[Observation], landmark: int, near: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Weights of the vertices `near`, not negative, sum 1, that place a landmark best.

    Least absolute distance, by least squares weighted anew a few times.
    """
    places = np.array([o.vertices[near] / o.size for o in observations])
    wanted = np.array([o.landmarks[landmark] / o.size for o in observations])
    middle = places.mean(axis=1, keepdims=True)  # only differences matter: the sum is 1
    places, wanted = places - middle, wanted - middle[:, 0]
    trust = np.sqrt(shares)
    for _ in range(REWEIGHTINGS):
        matrix = (trust[:, None, None] * places.transpose(0, 2, 1)).reshape(-1, len(near))
        target = (trust[:, None] * wanted).ravel()
        heavy = 100.0 * np.abs(matrix).max()
        weights = nnls(np.vstack([matrix, np.full(len(near), heavy)]), np.append(target, heavy))[0]
        errors = np.linalg.norm(np.einsum("pvc,v->pc", places, weights) - wanted, axis=1)
        trust = np.sqrt(shares / np.maximum(errors, 0.01))
    weights[weights < LEAST_WEIGHT] = 0
    return weights / weights.sum()


def fit(
    observations: Sequence[Observation], rest: np.ndarray
) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Place every landmark on the mesh.

    Parameters
    ----------
    observations : sequence of Observation
    rest : (V, 3) ndarray
        Rest coordinates of the candidate vertices.

    Returns
    -------
    list of 68 lists of pairs (K,) int ndarray, (K,) float64 ndarray
        Indices into the candidates, and weights that sum to 1: one pair, or one
        for each of `landmarks.YAWS`.
    """
    twins = mirror_images(rest)
    both = [*observations, *(o.mirrored(twins) for o in observations)]
    yaws = np.array([o.yaw for o in both])
    tree = cKDTree(rest)

    def place(landmark: int, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        best = _best_vertex(both, landmark, shares)
        near = np.atleast_1d(tree.query(rest[best], k=min(NEIGHBORS, len(rest)))[1])
        weights = _interpolation(both, landmark, near, shares)
        return near[weights > 0], weights[weights > 0]

    everywhere = np.ones(len(both))
    return [
        [place(landmark, np.exp(-((yaws - yaw) ** 2) / (2 * YAW_WINDOW**2)) + 1e-3) for yaw in YAWS]
        if landmark in JAW
        else [place(landmark, everywhere)]
        for landmark in range(LANDMARK_COUNT)
    ]


def read_observation(
    mesh: BaseMesh, folder: Path, stem: str, detector: LandmarkDetector, candidates: np.ndarray
) -> Observation | None:
    """A rendered portrait with its mesh, built again; None where dlib finds no face.

    Raises
    ------
    InputError
        If a file is missing, damaged or not of `make portraits`.
    """
    facts = read_meta(folder, stem)
    photo = read_photo(next(folder.glob(f"images/{stem}.*"), folder / f"images/{stem}.jpg"))
    try:
        seed, number = facts["choice"]["seed"], facts["choice"]["number"]
        per_person = facts["settings"]["per_person"]
    except KeyError as missing:
        raise InputError(
            f"{folder}/meta/{stem}.json lacks {missing}; give a folder that make portraits wrote."
        ) from None
    detected = detector.detect(photo)
    if detected is None:
        return None
    staging = stage(mesh, choose_portrait(seed, number, per_person))
    return Observation(
        vertices=staging.project(staging.subject.vertices[candidates], photo.shape[:2]),
        landmarks=detected,
        yaw=view_yaw(staging.subject.head, staging.camera),
    )


def write_table(
    table: list[list[tuple[np.ndarray, np.ndarray]]], candidates: np.ndarray, path: Path
) -> None:
    """Write the table with indices into the whole mesh."""
    rows = [
        [
            {"vertices": candidates[near].tolist(), "weights": weights.round(4).tolist()}
            for near, weights in row
        ]
        for row in table
    ]
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    with atomic_write(path) as scratch:
        scratch.write_text(f'{{"landmarks": [\n  {lines}\n]}}\n')


def main(argv: list[str] | None = None) -> int:
    """Fit the table to rendered portraits and write it."""
    from data_prep.common.landmarks import LandmarkDetector

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=named_path, help="written by make portraits")
    parser.add_argument("--out", type=named_path, default=TABLE)
    arguments = parser.parse_args(argv)
    mesh = read_base_mesh(body_data_dir())
    rest = rest_coordinates(mesh)
    candidates = candidate_vertices(mesh, rest)
    detector = LandmarkDetector()
    portraits = [
        (folder, path.stem)
        for folder in arguments.folders
        for path in sorted(folder.glob("meta/*.json"))
    ]
    found = [
        read_observation(mesh, folder, stem, detector, candidates)
        for folder, stem in tqdm(portraits, unit="portrait")
    ]
    observations = [observation for observation in found if observation is not None]
    if len(observations) < FEWEST_PORTRAITS:
        raise InputError(
            f"{arguments.folders[0]} holds {len(observations)} portraits in which dlib finds a "
            f"face; render at least {FEWEST_PORTRAITS} with `make portraits`."
        )
    write_table(fit(observations, rest[candidates]), candidates, arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
