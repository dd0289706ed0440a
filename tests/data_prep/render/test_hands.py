"""Hands near the face: reached by the arm, outside the body."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from json_choices import assert_survives_json
from numpy.testing import assert_allclose

from data_prep.render.base.randomness import generator
from data_prep.render.people import hands
from data_prep.render.people.body import bone_share, pose
from data_prep.render.people.expression import build_subject, choose_pose
from data_prep.render.people.person import choose_person


@pytest.fixture(scope="module")
def subjects(mesh):
    return [
        build_subject(
            mesh,
            choose_person(generator(8, number, "person")),
            choose_pose(generator(8, number, "pose")),
        )
        for number in range(4)
    ]


def gesture(name, side=1):
    low, high = hands.GESTURES[name].curl
    return hands.HandChoice(name, side, 0.5 * (low + high), 2.0, (0.0, 0.0, 0.0), 0.0)


def test_hands_are_drawn_for_their_share_of_portraits():
    choices = [hands.choose_hand(generator(1, k, "hand")) for k in range(3000)]
    shown = [choice for choice in choices if choice]
    assert len(shown) / 3000 == pytest.approx(hands.SHARE, abs=0.025)
    counts = Counter(choice.gesture for choice in shown)
    assert set(counts) == set(hands.GESTURES)
    assert {choice.side for choice in shown} == {1, -1}
    assert_survives_json(shown[0])


def test_no_hand_in_the_hair_under_a_hat():
    for k in range(800):
        choice = hands.choose_hand(generator(1, k, "hand"), hatted=True)
        assert choice is None or choice.gesture != "hair"


@pytest.mark.parametrize("name", hands.GESTURES)
def test_hands_stay_outside_the_body_and_come_near_it(subjects, name):
    done = 0
    for number, subject in enumerate(subjects):
        choice = gesture(name, (1, -1)[number % 2])
        rotations = hands.arm_rotations(choice, subject)
        if rotations is None:
            continue
        done += 1
        mesh = subject.mesh
        posed, _ = pose(mesh, subject.standing, rotations)
        letter = "L" if choice.side > 0 else "R"
        hand = bone_share(mesh, (f"wrist.{letter}",)) > 0.9
        field = hands.trunk_field(subject)
        gap = field(posed[hand]).min()
        assert gap > hands.DEEPEST
        if name != "raised":
            assert gap < hands.GESTURES[name].clearance + 0.015
        head = subject.joint("joint-head")
        assert np.linalg.norm(posed[hand].mean(axis=0) - head) < 0.35
    assert done >= 2


def test_only_one_arm_moves_and_only_turns(subjects):
    rotations = hands.arm_rotations(gesture("collar", -1), subjects[0])
    assert rotations
    for bone, turn in rotations.items():
        assert bone.endswith(".R")
        assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1)


def test_the_wrist_arrives_where_two_bones_put_it(subjects):
    """Bone lengths are kept and the hand looks where the gesture says."""
    subject = subjects[0]
    choice = gesture("raised")
    rotations = hands.arm_rotations(choice, subject)
    posed, _ = pose(subject.mesh, subject.standing, rotations)
    before, after = (
        hands.standing_arm(subject.mesh, vertices, 1) for vertices in (subject.standing, posed)
    )
    for start, end in (("shoulder", "elbow"), ("elbow", "wrist")):
        lengths = [
            np.linalg.norm(getattr(arm, end) - getattr(arm, start)) for arm in (before, after)
        ]
        assert lengths[1] == pytest.approx(lengths[0], rel=0.06)
    head = subject.head[:3, :3] / subject.head_scale
    wanted = head @ np.array(hands.GESTURES["raised"].fingers)
    assert hands._angle(after.forward, wanted) < 12


def test_what_is_out_of_reach_is_not_done(subjects, monkeypatch):
    far = replace(hands.GESTURES["raised"], contact=(0.9, -0.3, 0.9))
    monkeypatch.setitem(hands.GESTURES, "raised", far)
    assert hands.arm_rotations(gesture("raised"), subjects[0]) is None


def test_fingers_bend_toward_the_palm(subjects):
    subject = subjects[0]
    arm = hands.standing_arm(subject.mesh, subject.standing, 1)
    choice = replace(gesture("chin"), curl=20.0)
    bent, _ = pose(subject.mesh, subject.standing, hands.finger_rotations(arm, choice))
    tip = "joint-l-finger-3-4"
    moved = subject.mesh.joint(bent, tip) - subject.mesh.joint(subject.standing, tip)
    assert moved @ arm.palm > 0.01


@pytest.mark.parametrize("angle", [-100.0, -30.0, 0.0, 60.0, 110.0])
def test_the_twist_of_a_turn(angle):
    axis = np.array([0.0, 0.6, 0.8])
    assert hands._twist(hands.rotation(axis, angle), axis) == pytest.approx(angle, abs=1e-6)


def test_gestures_are_the_same_every_time(subjects):
    first, second = (hands.arm_rotations(gesture("collar"), subjects[1]) for _ in range(2))
    assert first and first.keys() == second.keys()
    assert all(np.array_equal(first[bone], second[bone]) for bone in first)
