"""Fixtures of the studio's tests."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from data_prep.render.base.assets import body_data_dir
from data_prep.render.base.geometry import PolygonMesh, vertex_normals
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import transform
from data_prep.render.people.body import read_base_mesh
from data_prep.render.people.expression import Subject, build_subject, choose_pose
from data_prep.render.people.person import choose_person


@pytest.fixture(scope="session")
def mesh():
    """MakeHuman's base mesh."""
    return read_base_mesh(body_data_dir())


@dataclass(frozen=True, eq=False)
class Posed:
    """A posed subject, its skin as hair sees it, and the distances to it."""

    subject: Subject
    skin: PolygonMesh
    field: SignedDistance


@pytest.fixture(scope="session")
def posed(mesh):
    """A man of 30 who turns his head; skin from the unrefined mesh, head to chest."""
    rng = np.random.default_rng(3)
    person = replace(choose_person(rng), sex="male", masculinity=0.9, years=30.0)
    subject = build_subject(mesh, person, choose_pose(rng))
    quads = mesh.faces[mesh.faces_of("body")]
    quads = quads[subject.rest[quads][:, :, 2].min(axis=1) > 0.25]
    used, corners = np.unique(quads, return_inverse=True)
    corners = corners.reshape(quads.shape)
    triangles = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])
    vertices = subject.vertices[used]
    normals = vertex_normals(vertices, triangles)
    skin = PolygonMesh(vertices, triangles, {"rest": subject.rest[used], "normals": normals})
    center = transform(subject.head, np.array([0.0, -0.04, 0.75]))
    box = (center - [0.28, 0.28, 0.5], center + [0.28, 0.28, 0.22])
    return Posed(subject, skin, SignedDistance.around([(vertices, normals)], *box))
