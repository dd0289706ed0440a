"""Expressions, gaze and the posed subject."""

from dataclasses import replace

import numpy as np
import pytest
from json_choices import assert_survives_json

from data_prep.render.base.randomness import generator
from data_prep.render.base.vectors import rotation, transform, unit
from data_prep.render.people.expression import (
    EXPRESSION_SHARES,
    EXPRESSIONS,
    build_subject,
    choose_pose,
)
from data_prep.render.people.person import choose_person


@pytest.fixture(scope="module")
def person():
    return choose_person(generator(3, 0, "person"))


@pytest.fixture(scope="module")
def straight():
    """A neutral pose that looks into the camera."""
    choice = choose_pose(generator(3, 0, "pose"))
    return replace(
        choice,
        face_units={},
        gaze=(0.0, 0.0),
        body_yaw=0.0,
        head_yaw=0.0,
        head_pitch=0.0,
        head_roll=0.0,
    )


def test_poses_keep_the_face_toward_the_camera():
    poses = [choose_pose(generator(3, number, "pose")) for number in range(500)]
    assert max(abs(p.body_yaw) for p in poses) <= 32
    toward = np.array([p.body_yaw + p.head_yaw for p in poses])
    assert np.mean(np.abs(toward) < 30) > 0.97
    assert {p.expression for p in poses} == set(EXPRESSIONS)
    for p in poses[:50]:
        assert_survives_json(p)


def test_every_expression_has_a_share_and_every_unit_a_target(mesh):
    assert set(EXPRESSION_SHARES) == set(EXPRESSIONS)
    for expression in EXPRESSIONS.values():
        for unit_name in expression:
            stem = unit_name.removesuffix("Both")
            sides = ("Left", "Right") if unit_name.endswith("Both") else ("",)
            assert all(f"faceunits/{stem}{side}" in mesh.target_paths for side in sides)


def test_the_eyes_look_at_the_camera(mesh, person, straight):
    camera = np.array([0.3, -1.5, 0.9])
    subject = build_subject(mesh, person, straight, camera=camera)
    assert len(subject.eyes) == 2
    for eye in subject.eyes:
        np.testing.assert_allclose(eye.gaze, unit(camera - eye.center), atol=1e-9)


@pytest.mark.parametrize("gaze", [(20.0, 0.0), (-10.0, 5.0), (0.0, -8.0)])
def test_gaze_is_measured_from_the_camera_to_the_left_and_up(mesh, person, straight, gaze):
    camera = np.array([0.0, -1.5, 0.73])
    subject = build_subject(mesh, person, replace(straight, gaze=gaze), camera=camera)
    middle = np.mean([eye.center for eye in subject.eyes], axis=0)
    looked = np.mean([eye.gaze for eye in subject.eyes], axis=0)
    azimuth = np.degrees(np.arctan2(looked[0], -looked[1]))
    tilt = np.degrees(np.arcsin(unit(looked)[2] - unit(camera - middle)[2]))
    assert azimuth == pytest.approx(gaze[0], abs=0.5)
    assert tilt == pytest.approx(gaze[1], abs=0.5)


def test_upper_lids_follow_the_gaze(mesh, person, straight):
    camera = np.array([0.0, -1.5, 0.73])
    up, down = (
        build_subject(mesh, person, replace(straight, gaze=(0.0, g)), camera=camera)
        for g in (10.0, -10.0)
    )
    eye = up.mesh.joint(up.standing, "helper-l-eye")
    reach = np.linalg.norm(up.standing - eye, axis=1) / up.eyes[0].radius
    skin = np.zeros(len(reach), bool)
    skin[np.unique(mesh.faces[mesh.faces_of("body")])] = True
    lid = skin & (reach < 1.25) & (up.standing[:, 2] > eye[2]) & (up.standing[:, 1] < eye[1])
    assert (up.standing - down.standing)[lid, 2].mean() > 5e-4


def test_without_a_camera_it_stands_before_the_turned_body(mesh, person, straight):
    subject = build_subject(mesh, person, replace(straight, body_yaw=25.0))
    seen = rotation((0, 0, 1), 25.0) @ np.mean([eye.gaze for eye in subject.eyes], axis=0)
    np.testing.assert_allclose(unit(seen), [0, -1, 0], atol=0.02)


def test_head_takes_rest_coordinates_to_the_posed_head(mesh, person, straight):
    subject = build_subject(mesh, person, replace(straight, head_yaw=20.0, head_roll=5.0))
    eyes = (mesh.joint(subject.rest, "helper-l-eye") + mesh.joint(subject.rest, "helper-r-eye")) / 2
    middle = np.mean([eye.center for eye in subject.eyes], axis=0)
    assert np.linalg.norm(transform(subject.head, eyes) - middle) < 0.004
    assert 0.8 < subject.head_scale < 1.25
    turn = subject.head[:3, :3] / subject.head_scale
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)


def test_turning_the_head_to_the_left_moves_the_nose_to_the_left(mesh, person, straight):
    subject = build_subject(mesh, person, replace(straight, head_yaw=20.0))
    nose = transform(subject.head, np.array([0.0, -0.13, 0.70]))
    assert nose[0] > 0.02


def test_a_smile_widens_the_mouth(mesh, person, straight):
    smile = {"faceunits/mouthSmileLeft": 0.8, "faceunits/mouthSmileRight": 0.8}
    still = build_subject(mesh, person, straight).standing
    smiling = build_subject(mesh, person, replace(straight, face_units=smile)).standing
    moved = np.linalg.norm(smiling - still, axis=1)
    assert 0.003 < moved.max() < 0.03
    corner = moved.argmax()
    assert abs(smiling[corner, 0]) > abs(still[corner, 0])
    assert smiling[corner, 2] > still[corner, 2]


def test_bones_can_be_posed_from_outside(mesh, person, straight):
    lifted = {"lowerarm01.L": rotation((1, 0, 0), -60.0)}
    plain, other = (build_subject(mesh, person, straight, rotations=r) for r in ({}, lifted))
    hand = mesh.bones["wrist.L"].head
    assert np.linalg.norm(plain.vertices[hand] - other.vertices[hand]) > 0.05
    np.testing.assert_allclose(plain.head, other.head)
