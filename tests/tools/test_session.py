"""The session: trimaps, masks, 16 bits, nobody, several people."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffe_layers.matting import solve_alpha
from caffe_layers.smoothing import smoothed
from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_matte, read_photo
from data_prep.datasets.dataset import Dataset
from tools.evaluation.methods import true_trimap
from tools.evaluation.metrics import evaluate
from tools.matting.models import AFFINITY_WEIGHT, ROOT
from tools.matting.session import MattingSession


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Head and shoulders of the astronaut."""
    return np.ascontiguousarray(read_photo(fetch("astronaut"))[:300, 60:360])


@pytest.fixture(scope="module")
def session() -> MattingSession:
    return MattingSession()


@pytest.fixture(scope="module")
def result(session, photo):
    return session.matte(photo)


def test_trimap_from_outside_is_solved_exactly(photo, result):
    trimap = np.uint8(np.where(result.alpha > 0.95, 255, np.where(result.alpha < 0.05, 0, 128)))
    matte = MattingSession(None).matte(photo, trimap=trimap)
    wanted = solve_alpha(smoothed(photo), trimap == 255, trimap == 0)
    np.testing.assert_array_equal(matte.alpha, wanted)
    assert matte.person_found and not matte.faces


def test_the_default_has_affinities_in_its_own_trimaps_that_are_not_large(
    session, photo, result, monkeypatch
):
    without = MattingSession(mu=0.0)
    tied, plain = (
        each.matte(photo).alpha for each in (MattingSession(mu=AFFINITY_WEIGHT), without)
    )
    np.testing.assert_array_equal(result.alpha, tied)
    assert np.abs(tied - plain).max() > 0.02
    mask = result.alpha > 0.5
    from_outside = (each.matte(photo, mask=mask).alpha for each in (session, without))
    np.testing.assert_array_equal(*from_outside)
    unknown = np.count_nonzero(result.probabilities[:2].sum(axis=0) < 0.5)
    monkeypatch.setattr("tools.matting.session.AFFINITY_PIXELS", unknown)
    np.testing.assert_array_equal(session.matte(photo).alpha, tied)
    monkeypatch.setattr("tools.matting.session.AFFINITY_PIXELS", unknown - 1)
    np.testing.assert_array_equal(session.matte(photo).alpha, plain)
    np.testing.assert_array_equal(MattingSession(mu=AFFINITY_WEIGHT).matte(photo).alpha, tied)


def test_large_nets_are_forgotten_before_a_large_photo_is_solved(photo, result, monkeypatch):
    session = MattingSession()
    monkeypatch.setattr("tools.matting.session.LARGE_PHOTO", photo[:, :, 0].size)
    session.matte(photo)
    nets = session._model._multiclass._net
    assert nets.cache_info().currsize == 2
    monkeypatch.setattr("tools.matting.session.LARGE_PHOTO", photo[:, :, 0].size - 1)
    np.testing.assert_array_equal(session.matte(photo).alpha, result.alpha)
    assert not nets.cache_info().currsize


def test_smoothing_brings_the_solve_nearer_to_the_truth():
    """Of the true trimap, a little widened, on the first training portraits of the sample."""
    errors = {"plain": [], "smoothed": []}
    for portrait in Dataset.open(ROOT / "data/sample").train[:4]:
        photo, truth = read_photo(portrait.photo), read_matte(portrait.matte) / 255
        for name, levels in (("plain", photo), ("smoothed", smoothed(photo))):
            alpha = solve_alpha(levels, *true_trimap(truth))
            errors[name].append(evaluate(alpha, truth).dapm_gradient)
    assert np.mean(errors["smoothed"]) < 0.96 * np.mean(errors["plain"])


def test_smoothing_takes_grain_and_leaves_edges():
    step = np.full((60, 80, 3), 90.0)
    step[:, 40:] = 150
    grainy = np.uint8(step + np.random.default_rng(1).normal(0, 4, step.shape))
    difference = smoothed(grainy).astype(float) - step
    assert difference.std() < 2
    assert np.abs(difference[:, 38:42].mean(axis=0)).max() < 2
    np.testing.assert_allclose(smoothed(np.uint16(257) * grainy), smoothed(grainy), atol=1e-3)


def test_coarse_mask_from_outside_becomes_a_fine_matte(photo, result):
    mask = cv2.resize(np.uint8(result.alpha > 0.5) * 255, (75, 75), interpolation=cv2.INTER_AREA)
    matte = MattingSession(None).matte(photo, mask=mask)
    assert len(matte.faces) == 1
    enlarged = cv2.resize(mask / 255, (300, 300))
    assert np.abs(matte.alpha - result.alpha).mean() < np.abs(enlarged - result.alpha).mean()
    as_float = MattingSession(None).matte(photo, mask=mask / 255)
    np.testing.assert_allclose(as_float.alpha, matte.alpha, atol=0.02)


def test_sixteen_bits_give_the_same_matte_and_keep_their_type(session, photo, result):
    matte = session.matte(photo.astype(np.uint16) * 257)
    # Within half a gray level: flat windows of the Laplacian feel the colors' rounding.
    np.testing.assert_allclose(matte.alpha, result.alpha, atol=0.5 / 255)
    assert matte.foreground.dtype == np.uint16
    assert result.foreground.dtype == np.uint8


def test_nobody(session):
    matte = session.matte(np.full((120, 160, 3), 90, np.uint8))
    assert not matte.person_found and not matte.faces
    assert not matte.alpha.any()
    assert matte.probabilities.shape == (3, 120, 160)


def test_two_people_are_both_cut_out(session, photo):
    matte = session.matte(np.hstack([photo, photo[:, ::-1]]))
    assert len(matte.faces) == 2
    assert matte.alpha[60:290, 140:190].min() > 0.9
    assert matte.alpha[60:290, 410:460].min() > 0.9


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(photo=np.zeros((9, 9), np.uint8)), "photo is an"),
        (dict(photo=None), "photo is an .*, not None; convert"),
        (dict(trimap=[[0, 255]]), "trimap is an .*, not list; save"),
        (dict(mask="mask.png"), "mask is an .*, not str; save"),
        (dict(alpha=0.5), "matte is an .*, not float; read"),
        (dict(photo=np.zeros((2, 9, 3), np.uint8)), "too small"),
        (dict(), "no model"),
        (dict(trimap=np.zeros((9, 9), np.uint8)), "no foreground"),
        (dict(trimap=np.zeros((9, 9, 3), np.uint8)), "trimap is an"),
        (dict(mask=np.full((9, 9), np.nan)), "from 0 to 1"),
        (dict(mask=np.zeros((9, 9), int)), "mask is an"),
        (dict(mask=np.zeros((9, 9)), trimap=np.zeros((9, 9), np.uint8)), "not several"),
    ],
)
def test_bad_input_is_one_sentence(given, message):
    with pytest.raises(InputError, match=message):
        MattingSession(None).matte(**(dict(photo=np.zeros((9, 9, 3), np.uint8)) | given))


def test_an_unknown_model_is_refused_with_the_names_of_all():
    with pytest.raises(InputError, match="no model 'foo'; it is one of selfie, ensemble"):
        MattingSession("foo")


def test_a_mask_may_be_of_booleans(photo):
    person = np.zeros(photo.shape[:2], bool)
    person[40:, 60:260] = True
    session = MattingSession(None)
    wanted = session.matte(photo, mask=np.uint8(255) * person)
    np.testing.assert_array_equal(session.matte(photo, mask=person).alpha, wanted.alpha)


def test_raw_mask_is_that_of_the_segmenter(photo):
    mask = MattingSession("selfie").segment(photo)
    assert mask.shape == (300, 300) and 0 <= mask.min() and mask.max() <= 1
    assert mask[60:290, 140:190].min() > 0.5 and mask[:100, 255:].max() < 0.5
    with pytest.raises(InputError, match="no segmenter"):
        MattingSession(None).segment(photo)
