"""Where hair and beards grow, against places of a face that everybody knows."""

import numpy as np
import pytest

from data_prep.render.people.scalp import (
    Hairline,
    beard_density,
    crown,
    hair_density,
    on_ear,
    polygon_depth,
    scalp_depth,
)

# Rest coordinates of the skin, in meters.
PLACES = {
    "top": (0.0, -0.04, 0.841),
    "back": (0.0, 0.046, 0.77),
    "above the ear": (0.068, -0.03, 0.775),
    "behind the ear": (0.060, 0.0, 0.73),
    "forehead": (0.0, -0.138, 0.785),
    "nose": (0.0, -0.159, 0.70),
    "cheek": (0.045, -0.115, 0.705),
    "ear": (0.079, -0.035, 0.72),
    "neck in front": (0.0, -0.07, 0.60),
    "neck behind": (0.0, 0.02, 0.62),
    "chin": (0.0, -0.140, 0.635),
    "jaw": (0.055, -0.075, 0.668),
    "lip": (0.0, -0.152, 0.6675),
    "below the nose": (0.008, -0.148, 0.684),
    "temple corner": (0.045, -0.112, 0.802),
}


def at(*names):
    return np.array([PLACES[name] for name in names])


def test_hair_covers_top_back_and_sides():
    assert (scalp_depth(at("top", "back", "above the ear", "behind the ear")) > 0.005).all()


def test_no_hair_on_face_ears_and_neck():
    names = ("forehead", "nose", "cheek", "ear", "neck in front", "neck behind", "chin")
    assert (scalp_depth(at(*names)) < 0).all()
    assert not hair_density(at(*names)).any()


def test_hair_recedes_first_at_the_temples_and_thins_on_top():
    receding = Hairline(recession=0.02, thinning=0.9)
    assert scalp_depth(at("temple corner")) > 0 > scalp_depth(at("temple corner"), receding)
    assert hair_density(at("top"), receding) == pytest.approx(0.1, abs=0.02)
    np.testing.assert_array_equal(
        hair_density(at("back", "above the ear"), receding),
        hair_density(at("back", "above the ear")),
    )
    assert crown(at("top")) == 1 and crown(at("above the ear")) < 0.05


def test_a_widows_peak_lies_in_the_middle():
    edge = np.array([[0.0, -0.128, 0.8055], [0.03, -0.121, 0.8025]])
    gain = scalp_depth(edge, Hairline(peak=0.006)) - scalp_depth(edge)
    assert gain[0] > 0.004 and gain[1] < 0.001


def test_the_hairline_is_the_same_on_both_sides_of_a_straight_head():
    places = at("above the ear", "behind the ear", "cheek", "temple corner")
    mirrored = places * [-1, 1, 1]
    np.testing.assert_allclose(scalp_depth(mirrored), scalp_depth(places), atol=0.004)


def test_the_density_rises_from_the_edge():
    line = np.stack([np.zeros(30), np.full(30, -0.118), np.linspace(0.795, 0.83, 30)], axis=1)
    density = hair_density(line)
    assert density[0] == 0 and density[-1] == 1
    assert (np.diff(density[density > 0]) >= -0.05).all()


@pytest.mark.parametrize(
    ("style", "grown", "bare"),
    [
        ("full", ("chin", "jaw", "below the nose"), ("lip", "cheek", "nose", "top", "ear")),
        ("goatee", ("chin", "below the nose"), ("jaw", "lip")),
        ("mustache", ("below the nose",), ("chin", "jaw", "lip")),
        ("chin", ("chin",), ("below the nose", "jaw")),
        ("none", (), tuple(PLACES)),
    ],
)
def test_beards_grow_where_their_name_says(style, grown, bare):
    assert (beard_density(at(*bare), style) == 0).all()
    if grown:
        assert (beard_density(at(*grown), style) > 0.3).all()


def test_an_unknown_beard_is_refused():
    with pytest.raises(ValueError, match="van dyke"):
        beard_density(at("chin"), "van dyke")


def test_depth_in_a_square_is_the_distance_from_its_sides():
    square = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    points = np.array([[2.0, 2], [1, 3.5], [5, 2], [-3, -4]])
    np.testing.assert_allclose(polygon_depth(points, square), [2, 0.5, -1, -5])


def test_ears_are_ears_on_both_sides():
    assert on_ear(at("ear")).all() and on_ear(at("ear") * [-1, 1, 1]).all()
    assert not on_ear(at("cheek", "above the ear", "jaw")).any()
