"""Measuring a set: faces, landmarks, fractional pixels, variety."""

import numpy as np
import pytest

from data_prep.render.people.landmarks import interocular_distance

check = pytest.importorskip("data_prep.render.check", reason="dlib is in the other environment")

FACE = np.random.Generator(np.random.PCG64(0)).uniform(100, 200, (68, 2))


def measured(stem, error, fractional=0.05, kinds=("bob", "shirt", "sun", "sky")):
    errors = None if error is None else np.full(68, error)
    return check.Measured(stem, errors, fractional, kinds)


def test_errors_are_in_interocular_distances():
    scale = interocular_distance(FACE)
    errors = check.landmark_errors(FACE + [0.03 * scale, 0], FACE)
    np.testing.assert_allclose(errors, 0.03)


def test_another_face_does_not_count():
    assert check.landmark_errors(None, FACE) is None
    assert check.landmark_errors(FACE + interocular_distance(FACE), FACE) is None


def test_kinds_are_those_of_the_choice():
    from dataclasses import asdict

    from data_prep.render.shot.portrait import choose_portrait

    for number in range(12):
        choice = choose_portrait(0, number, 4)
        assert check.kinds_of(asdict(choice)) == choice.kinds


def test_the_report_counts():
    sky = ("bob", "shirt", "sun", "sky")
    wall = ("bob", "shirt", "sun", "wall")
    text = check.report(
        [
            measured("a", 0.02, 0.02, sky),
            measured("b", 0.04, 0.06, sky),
            measured("c", 0.03, 0.04, wall),
            measured("d", None, 0.04, wall),
        ]
    )
    assert "3 of 4 faces found by dlib (75 %)" in text
    assert "median 3.0 %" in text
    assert "mean 4.0 %, 2.0 to 6.0 %" in text
    assert "4 photos share" in text
    assert "Without a face: d." in text
