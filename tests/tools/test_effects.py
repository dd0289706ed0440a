"""The paper's applications: what may change, and what must not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_prep.common.errors import InputError
from tools.outputs import effects
from tools.outputs.effects import EFFECTS

PERSON, GROUND = np.array([40, 80, 220]), np.array([60, 200, 60])


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photo, alpha and foreground: a textured disc with a soft rim before a textured wall."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :120]
    distance = np.hypot(rows - 48, columns - 60)
    alpha = np.clip((34 - distance) / 8, 0, 1)
    texture = cv2.resize(rng.uniform(-30, 30, (24, 30, 1)), (120, 96))[:, :, None]
    foreground = np.uint8(np.clip(PERSON + texture, 0, 255))
    wall = np.clip(GROUND + texture[::-1], 0, 255)
    share = alpha[:, :, None]
    photo = np.uint8(np.round(share * foreground + (1 - share) * wall))
    return photo, alpha, foreground


def lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(effects.to_float(image), cv2.COLOR_BGR2LAB)


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("deep", [False, True])
def test_effects_change_only_their_part(scene, name, deep):
    photo, alpha, foreground = scene
    if deep:
        photo, foreground = (np.uint16(image) * np.uint16(257) for image in (photo, foreground))
    before = photo.copy(), alpha.copy(), foreground.copy()
    result = EFFECTS[name].apply(photo, alpha, foreground)
    assert result.shape == photo.shape and result.dtype == photo.dtype
    for given, copy in zip((photo, alpha, foreground), before):
        np.testing.assert_array_equal(given, copy)
    change = np.abs(result.astype(int) - photo).max(axis=2) / np.iinfo(photo.dtype).max
    person, ground = change[alpha == 1], change[alpha == 0]
    if name.endswith("person"):
        assert ground.max() < 0.005 and person.mean() > 0.01
    elif name == "sunset":  # matches colors, so it changes both
        assert ground.mean() > 0.1 and person.mean() > 0.01
    else:
        assert person.max() < 0.005 and ground.mean() > 0.002


@pytest.mark.parametrize("name", EFFECTS)
def test_effects_take_mattes_without_person_or_ground(scene, name):
    photo, _, foreground = scene
    for value in (0.0, 1.0):
        result = EFFECTS[name].apply(photo, np.full(photo.shape[:2], value), foreground)
        assert result.shape == photo.shape


def test_layers_that_do_not_belong_together_are_refused_in_a_sentence(scene):
    photo, alpha, foreground = scene
    red, small = np.uint8([[(0, 0, 255)]]), np.zeros((9, 12, 3), np.uint8)
    for ground, words in (((0, 0, 255), "ground, .*, not tuple"), (small, "ground is 12x9, and")):
        with pytest.raises(InputError, match=words):
            effects.composite(foreground, alpha, ground)
    assert (effects.composite(foreground, 0 * alpha, red) == red).all()
    with pytest.raises(InputError, match="ground, .*, not tuple"):
        effects.replace_background(photo, alpha, foreground, (0, 0, 255))
    for wrong, words in ((alpha[1:], "of the photo's shape"), (np.uint8(alpha), "from 0 to 1")):
        with pytest.raises(InputError, match=words):
            effects.cut_out(foreground, wrong)
        for effect in EFFECTS.values():
            with pytest.raises(InputError, match=words):
                effect.apply(photo, wrong, foreground)


def test_true_layers_give_the_photo_back(scene):
    photo, alpha, foreground = scene
    plate = effects.background_plate(photo, alpha, foreground)
    again = effects.composite(foreground, alpha, effects.from_float(plate, np.uint8))
    difference = np.abs(again.astype(int) - photo).max(axis=2)
    assert difference[(alpha == 0) | (alpha == 1)].max() <= 1
    assert difference.max() <= 4  # half-covered pixels borrow from around


def test_plate_continues_the_background_behind_the_person(scene):
    _, alpha, _ = scene
    share = alpha[:, :, None]
    photo = np.uint8(np.round(share * PERSON + (1 - share) * GROUND))
    person = np.broadcast_to(np.uint8(PERSON), photo.shape)
    plate = effects.background_plate(photo, alpha, person)
    assert np.abs(plate * 255 - GROUND).max() < 4


def test_lens_keeps_the_person_out_of_the_background(scene):
    """A plain blur of the photo bleeds; ours shows nothing of a red disc."""
    _, alpha, _ = scene
    hard = np.float64(alpha > 0.5)
    share = hard[:, :, None]
    photo = np.uint8(share * (0, 0, 255) + (1 - share) * (200, 60, 0))
    red = np.broadcast_to(np.uint8((0, 0, 255)), photo.shape)
    result = effects.depth_of_field(photo, hard, red, radius=0.06)
    np.testing.assert_array_equal(result[hard == 1], photo[hard == 1])
    assert np.abs(result[hard == 0].astype(int) - (200, 60, 0)).max() <= 1
    plain = cv2.filter2D(photo, -1, effects.disc(0.06 * np.sqrt(hard.size)))
    assert plain[hard == 0][:, 2].max() > 80


def test_lens_averages_light_over_a_disc():
    photo = np.zeros((101, 101, 3), np.uint8)
    photo[50, 50] = 255
    nobody = np.zeros((101, 101))
    result = effects.depth_of_field(photo, nobody, photo, radius=10 / 101)
    rows, columns = np.nonzero(result[:, :, 0])
    assert 9.5 <= np.hypot(rows - 50, columns - 50).max() <= 11
    inside = result[:, :, 0][np.hypot(*(np.mgrid[:101, :101] - 50)) < 9]
    assert inside.min() > 0 and np.ptp(inside.astype(int)) <= 1  # even, unlike a Gaussian
    assert effects.disc(7.3).sum() == pytest.approx(1)


def test_light_and_values_are_inverse():
    values = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(effects.from_light(effects.to_linear(values)), values, atol=1e-6)
    assert effects.to_linear(np.array(0.5)) == pytest.approx(0.2140, abs=1e-4)


def test_background_covers_the_photo_without_distortion():
    picture = np.zeros((100, 400, 3), np.uint8)
    picture[:, 150:250] = 255  # a white square in the middle
    covered = effects.cover(picture, (200, 200))
    assert covered.shape == (200, 200, 3)
    assert covered[10:-10, 10:-10].min() == 255
    assert effects.cover(picture, (50, 200)).shape == (50, 200, 3)
    assert effects.cover(picture[:1, :1], (7, 9)).shape == (7, 9, 3)


def test_replaced_background_shows_nothing_of_the_old_one(scene):
    photo, alpha, foreground = scene
    black = np.zeros((1, 1, 3), np.uint8)
    result = effects.replace_background(photo, alpha, foreground, black)
    expected = np.round(foreground * alpha[:, :, None])
    assert np.abs(result - expected).max() <= 1


def test_matched_colors_approach_the_background(scene):
    _, alpha, foreground = scene
    blue = np.full((10, 10, 3), (200, 120, 60), np.uint8)
    matched = effects.match_colors(foreground, alpha, blue)
    target = lab(blue)[0, 0]
    before, after = (
        np.abs(np.average(lab(image).reshape(-1, 3), axis=0, weights=alpha.ravel()) - target)
        for image in (foreground, matched)
    )
    np.testing.assert_allclose(after / before, 1 - effects.MATCH_STRENGTH, atol=0.1)
    itself = effects.match_colors(foreground, np.ones(alpha.shape), foreground)
    assert np.abs(itself.astype(int) - foreground).max() <= 1


def test_gray_background_is_gray(scene):
    photo, alpha, foreground = scene
    result = EFFECTS["gray-background"].apply(photo, alpha, foreground)
    assert np.ptp(result[alpha == 0].astype(int), axis=1).max() <= 1
    weights = np.array((0.114, 0.587, 0.299))
    assert np.abs(result[alpha == 0][:, 0] - photo[alpha == 0] @ weights).max() <= 1.5


def test_tones_change_color_and_leave_black_and_white_alone():
    gray = np.float32(np.linspace(0, 1, 11))[:, None, None] * np.ones((1, 1, 3), np.float32)
    warm, cool = effects.tone(gray, effects.WARM), effects.tone(gray, effects.COOL)
    assert np.all(warm[0] == 0)
    assert np.all(warm[1:-1, :, 2] > warm[1:-1, :, 0])
    assert np.all(cool[1:, :, 0] > cool[1:, :, 2])


def test_sketch_is_white_on_flat_paper_and_dark_at_edges():
    image = np.full((80, 80, 3), 0.95, np.float32)
    image[:, 40:] = 0.3
    drawn = effects.sketch(image)
    assert drawn[:, :25].min() > 0.98
    assert drawn[40, 40].max() < 0.6 * drawn[40, 75].max()
    assert np.all(drawn == drawn[:, :, :1])


def test_oil_flattens_noise_and_keeps_edges():
    rng = np.random.default_rng(1)
    image = np.full((200, 200, 3), 0.2, np.float32)
    image[:, 100:] = 0.8
    noisy = np.clip(image + rng.normal(0, 0.05, image.shape), 0, 1).astype(np.float32)
    painted = effects.oil(noisy)
    assert painted[:, :90].std() < 0.3 * noisy[:, :90].std()
    assert np.abs(painted[:, 97] - 0.2).max() < 0.15 and np.abs(painted[:, 102] - 0.8).max() < 0.15


def test_cartoon_has_few_levels_of_lightness():
    ramp = np.tile(np.linspace(0, 1, 300, dtype=np.float32)[None, :, None], (60, 1, 3))
    lightness = lab(np.uint8(effects.cartoon(ramp) * 255))[30, :, 0]
    step = np.abs(np.diff(lightness))
    assert np.mean(step < 0.05) > 0.5  # mostly flat
    assert np.ptp(lightness) > 80
