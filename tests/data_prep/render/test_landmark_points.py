"""Landmarks as points of the mesh, and how they are fitted."""

import json

import numpy as np
import pytest

from data_prep.common.errors import InputError
from data_prep.common.images import write_image
from data_prep.common.landmark_scheme import LANDMARK_COUNT, LEFT_EYE, MIRRORED, RIGHT_EYE
from data_prep.render.base.randomness import generator
from data_prep.render.fit_landmarks import (
    Observation,
    candidate_vertices,
    fit,
    main,
    mirror_images,
    read_observation,
    write_table,
)
from data_prep.render.people.body import rest_coordinates
from data_prep.render.people.expression import build_subject, choose_pose
from data_prep.render.people.landmarks import (
    JAW,
    YAWS,
    interocular_distance,
    landmark_points,
    view_yaw,
    yaw_shares,
)
from data_prep.render.people.person import choose_person


@pytest.fixture(scope="module")
def subjects(mesh):
    return [
        build_subject(
            mesh, choose_person(generator(9, k, "person")), choose_pose(generator(9, k, "pose"))
        )
        for k in range(6)
    ]


def in_front(subject, distance=1.6):
    """A camera straight before the head."""
    face = subject.head[:3, :3] @ [0, -0.1, 0.73] + subject.head[:3, 3]
    return face + distance * (subject.head[:3, :3] @ [0.0, -1.0, 0.0]) / subject.head_scale


def test_mirroring_twice_changes_nothing():
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(LANDMARK_COUNT))


@pytest.mark.parametrize("yaw, expected", [(0, [0, 0, 1, 0, 0]), (-18, [0.5, 0.5, 0, 0, 0])])
def test_yaws_share_linearly(yaw, expected):
    np.testing.assert_allclose(yaw_shares(yaw), expected)
    assert yaw_shares(80).tolist() == [0, 0, 0, 0, 1]
    assert len(YAWS) == len(expected)


def test_a_camera_at_the_subjects_left_has_a_positive_yaw():
    head = np.eye(4)
    assert view_yaw(head, np.array([1.0, -1.5, 0.7])) > 20
    assert view_yaw(head, np.array([0.0, -1.5, 0.7])) == pytest.approx(0, abs=1e-9)


def test_landmarks_lie_where_faces_have_them(subjects):
    for subject in subjects:
        points = landmark_points(subject, in_front(subject))
        assert points.shape == (LANDMARK_COUNT, 3)
        local = (points - subject.head[:3, 3]) @ np.linalg.inv(subject.head[:3, :3]).T
        left, right = local[42:48].mean(axis=0), local[36:42].mean(axis=0)
        assert left[0] > 0.015 > -0.015 > right[0]  # the subject's left eye is at positive x
        assert local[8, 2] == min(local[:, 2])  # chin lowest
        assert local[30, 1] < min(local[[8, 27, 31, 35], 1])  # tip of the nose before its wings
        assert (local[17:27, 2].min() > local[36:48, 2].mean()).all()  # brows above the eyes
        assert abs(local[48, 0] + local[54, 0]) < 0.01  # corners of the mouth about the middle


def test_eye_landmarks_are_near_the_eyeballs(subjects):
    for subject in subjects:
        points = landmark_points(subject, in_front(subject))
        for eye, which in zip(subject.eyes, (LEFT_EYE, RIGHT_EYE)):
            reach = np.linalg.norm(points[which] - eye.center, axis=1) / eye.radius
            assert (reach < 1.6).all()


def test_jaw_landmarks_wander_with_the_view_and_others_do_not(subjects):
    subject = subjects[0]
    straight, sideways = in_front(subject), in_front(subject) + subject.head[:3, :3] @ [0.7, 0, 0]
    moved = np.linalg.norm(
        landmark_points(subject, straight) - landmark_points(subject, sideways), axis=1
    )
    assert moved[list(JAW)].max() > 0.002
    assert moved[17:].max() == 0


def test_the_fit_finds_the_points_that_were_observed(mesh, subjects):
    rest = rest_coordinates(mesh)
    candidates = candidate_vertices(mesh, rest)
    # Observed points: symmetric mixtures of neighboring vertices.
    rng = np.random.default_rng(0)
    twins = mirror_images(rest[candidates])
    truth = {j: int(rng.integers(len(candidates))) for j in range(LANDMARK_COUNT)}
    for j in range(LANDMARK_COUNT):
        truth[int(MIRRORED[j])] = int(twins[truth[j]])
    for j in np.flatnonzero(MIRRORED == np.arange(LANDMARK_COUNT)):
        truth[int(j)] = int(np.abs(rest[candidates][:, 0]).argmin())

    def observed(subject):
        flat = 1000 * subject.vertices[candidates][:, [0, 2]] * [1.0, -1.0]
        points = flat[[truth[j] for j in range(LANDMARK_COUNT)]]
        return Observation(flat, points, yaw=float(rng.uniform(-20, 20)))

    observations = [observed(subject) for subject in subjects]
    table = fit(observations, rest[candidates])
    seen = observations[0]
    errors = [
        np.linalg.norm(weights @ seen.vertices[near] - seen.landmarks[j])
        for j, row in enumerate(table)
        for near, weights in row
    ]
    assert np.median(errors) < 1.0  # millimeters
    assert all(sum(w) == pytest.approx(1) for row in table for _, w in row)


def test_the_interocular_distance_is_between_the_outer_corners():
    points = np.zeros((LANDMARK_COUNT, 2))
    points[36], points[45] = (10, 5), (70, 85)
    assert interocular_distance(points) == 100


def test_a_folder_of_another_kind_is_named(mesh, tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/a.json").write_text(json.dumps({"choice": {"seed": 1}}))
    write_image(tmp_path / "images/a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="a.json lacks 'number'"):
        read_observation(mesh, tmp_path, "a", None, np.arange(3))


def test_too_few_portraits_are_refused(tmp_path):
    pytest.importorskip("dlib", reason="it is in the other environment")
    table = tmp_path / "table.json"
    with pytest.raises(InputError, match="holds 0 portraits .* render at least 20"):
        main([str(tmp_path), "--out", str(table)])
    assert not table.exists()


def test_a_written_table_names_vertices_of_the_whole_mesh(tmp_path):
    path = tmp_path / "table.json"
    write_table([[(np.array([2, 0]), np.array([0.25, 0.75]))]], np.array([7, 8, 9]), path)
    [[view]] = json.loads(path.read_text())["landmarks"]
    assert view == {"vertices": [9, 7], "weights": [0.25, 0.75]}
