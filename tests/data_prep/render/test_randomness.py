"""Streams of random numbers: the same everywhere, and independent."""

import numpy as np
import pytest

from data_prep.render.base.randomness import clipped_normal, generator, pick


def draws(*arguments):
    return generator(*arguments).random(1000)


def test_a_stream_is_the_same_every_time():
    np.testing.assert_array_equal(draws(3, 14, "hair"), draws(3, 14, "hair"))


def test_streams_stay_what_they_are():
    # Sets that were rendered before must be rendered the same again.
    expected = [0.96421, 0.486141, 0.976604]
    np.testing.assert_allclose(generator(0, 0, "person").random(3), expected, atol=1e-6)


@pytest.mark.parametrize("other", [(4, 14, "hair"), (3, 15, "hair"), (3, 14, "light")])
def test_seeds_numbers_and_concerns_are_independent(other):
    correlation = np.corrcoef(draws(3, 14, "hair"), draws(*other))[0, 1]
    assert abs(correlation) < 0.12  # 4 standard deviations


def test_pick_follows_the_weights():
    rng = generator(0, 0, "test")
    picked = [pick(rng, {"a": 3, "b": 1, "c": 0}) for _ in range(2000)]
    assert picked.count("c") == 0
    assert picked.count("a") / 2000 == pytest.approx(0.75, abs=0.04)


def test_clipped_normal_stays_within():
    rng = generator(0, 0, "test")
    values = np.array([clipped_normal(rng, 0.0, 1.0, -0.5, 2.0) for _ in range(2000)])
    assert values.min() == -0.5 and values.max() <= 2.0
    assert np.mean(values == -0.5) == pytest.approx(0.309, abs=0.05)
