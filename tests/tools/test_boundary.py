"""Distances from the boundary of a region."""

from __future__ import annotations

import numpy as np
import pytest

from tools.matting.boundary import faded_in, from_boundary


def test_distances_from_a_boundary_are_relative_to_the_region():
    small = from_boundary(np.pad(np.ones((40, 40), bool), 30))
    large = from_boundary(np.pad(np.ones((80, 80), bool), 60))
    assert small[30, 50] == pytest.approx(1 / 40) and small[29, 50] == pytest.approx(1 / 40)
    assert small[50, 50] == pytest.approx(large[100, 100], abs=1 / 40)
    for region in (np.zeros((3, 4), bool), np.ones((3, 4), bool)):
        assert np.isinf(from_boundary(region)).all()


def test_what_fades_in_does_so_from_its_reach_to_twice_as_far():
    distances = np.float32([0, 1, 2, 3, 4, 9, np.inf])
    np.testing.assert_allclose(faded_in(distances, 2), [0, 0, 0, 0.5, 1, 1, 1])
