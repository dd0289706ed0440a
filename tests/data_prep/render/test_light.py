"""Light: every kind comes, and lies where its name says."""

import numpy as np
import pytest

from data_prep.render.base.assets import ENVIRONMENT_MAPS
from data_prep.render.base.randomness import generator
from data_prep.render.shot.light import KINDS, choose_light, environment_gain, warm


@pytest.fixture(scope="module")
def lights():
    return [choose_light(generator(0, k, "light")) for k in range(600)]


def test_kinds_come_as_often_as_documented(lights):
    total = sum(share for share, _ in KINDS.values())
    for kind, (share, _) in KINDS.items():
        found = np.mean([light.kind == kind for light in lights])
        assert found == pytest.approx(share / total, abs=0.06)


def test_environments_fit_the_kind(lights):
    assert all(light.environment in KINDS[light.kind][1] for light in lights)
    assert {light.environment for light in lights} == set(ENVIRONMENT_MAPS)


def key(light):
    return max(light.lamps, key=lambda lamp: lamp.power)


def test_light_against_the_camera_comes_from_behind(lights):
    for light in lights:
        behind = np.cos(np.radians(key(light).azimuth)) < 0
        if light.kind == "against the light":
            assert behind
        elif light.kind in ("window", "sun", "shade"):
            assert not behind


def test_windows_are_large_and_the_sun_is_small(lights):
    sizes = {kind: [key(each).size for each in lights if each.kind == kind] for kind in KINDS}
    assert min(sizes["window"]) > 2 * max(sizes["sun"])


def test_evenings_are_warm(lights):
    evenings = [light for light in lights if light.kind == "evening"]
    assert evenings and min(light.warmth for light in evenings) > 0.2


@pytest.mark.parametrize("amount", [-1.0, 0.0, 0.7])
def test_colors_of_light_are_positive_and_ordered(amount):
    red, _, blue = warm(amount)
    assert min(warm(amount)) > 0
    assert np.sign(red - blue) == np.sign(amount)


@pytest.mark.render
def test_environments_are_brought_to_their_level(lights):
    gains = {light.environment: environment_gain(light) / light.level for light in lights}
    # The night is far darker than the city, so it is amplified more.
    assert gains["night"] > 3 * gains["city"]
