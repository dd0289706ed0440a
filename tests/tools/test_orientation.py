"""Photos that are not the right way up."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_prep.common.images import read_matte, read_photo
from data_prep.datasets.dataset import Dataset
from tools.evaluation.metrics import evaluate
from tools.matting.face_boxes import FaceBox
from tools.matting.face_detector import SIDE, FaceDetector
from tools.matting.models import ROOT
from tools.matting.orientation import surest_turn, turned, turned_points
from tools.matting.session import MattingSession
from tools.matting.trimap import TrimapEstimate, empty_estimate

# Upside down, the detector takes the chin of p0143 for a forehead (0.63).
PORTRAITS = ("p0124", "p0143")


class CountingDetector(FaceDetector):
    """A detector that counts the pictures it has searched."""

    def __init__(self) -> None:
        super().__init__()
        self.searches = 0

    def boxes(self, photo: np.ndarray, side: int = SIDE, *least_score: float):
        self.searches += side == SIDE
        return super().boxes(photo, side, *least_score)


@pytest.fixture(scope="module")
def portraits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Photos and mattes of half the size."""

    def half(image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)

    return {
        portrait.stem: (half(read_photo(portrait.photo)), half(read_matte(portrait.matte) / 255))
        for portrait in Dataset.open(ROOT / "data/sample").portraits
        if portrait.stem in PORTRAITS
    }


@pytest.fixture(scope="module")
def detector() -> CountingDetector:
    return CountingDetector()


@pytest.mark.parametrize("turns", range(-4, 6))
def test_points_go_with_the_pixels_of_a_turned_image(turns):
    image = np.zeros((5, 7), np.uint8)
    image[1, 4] = 1
    ((row, column),) = np.argwhere(turned(image, turns))
    points = turned_points(np.array([[4.0, 1.0]]), turns, image.shape)
    np.testing.assert_array_equal(points, [[column, row]])
    np.testing.assert_array_equal(turned(turned(image, turns), -turns), image)


@pytest.mark.parametrize("turns", range(4))
def test_a_trimap_is_turned_back_exactly(turns):
    random = np.random.default_rng(turns)
    planes = random.random((3, 5, 7), np.float32)
    face = FaceBox(np.array([1.0, 0.5, 4, 3]), random.uniform(0, 5, (6, 2)), 0.9)
    estimate = TrimapEstimate(planes, (face,), True)
    back = estimate.turned(turns).turned(-turns)
    np.testing.assert_array_equal(back.probabilities, estimate.probabilities)
    np.testing.assert_allclose(back.faces[0].points, face.points, atol=1e-12)
    np.testing.assert_allclose(back.faces[0].box, face.box, atol=1e-12)
    turned_face = estimate.turned(turns).faces[0]
    assert turned_face.area == pytest.approx(face.area) and turned_face.score == face.score
    empty = empty_estimate((5, 7)).turned(turns)
    assert empty.probabilities.shape[1:] == ((5, 7), (7, 5))[turns % 2]


@pytest.mark.parametrize(
    "values, turns",
    [
        ((12, 12, 12, 12), 0),
        ((8, 8, 12, 8), 2),
        ((0, 0, 0, 12), 3),
        ((12, 12.1, 12, 12), 0),  # no lead
        ((6, 11, 6, 6), 0),  # leads, but is not beyond doubt
        ((-1, -1, -1, -1), 0),  # nobody at all
    ],
)
def test_faceless_photos_are_turned_only_where_people_are_beyond_doubt(values, turns):
    logits = [np.full((4, 4), value, np.float32) for value in values]
    assert surest_turn(logits) == turns


@pytest.mark.parametrize("stem", PORTRAITS)
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_face_of_a_turned_photo_is_the_upright_one(portraits, detector, stem, turns):
    photo, _ = portraits[stem]
    upright, lying = photo, turned(photo, turns)
    expected, found = detector.find(upright), detector.find(lying)
    assert expected.turns == 0 and found.turns == 4 - turns
    ((face,), (other,)) = expected.faces, found.faces
    np.testing.assert_allclose(other.points, face.points, atol=1e-6)
    (one,), (another,) = detector.landmarks(upright, expected), detector.landmarks(lying, found)
    np.testing.assert_allclose(another.points, one.points, atol=1e-6)


def test_other_turns_are_searched_only_without_a_sure_face(portraits, detector):
    detector.searches = 0
    detector.find(portraits["p0143"][0])
    assert detector.searches == 1
    assert detector.find(np.full((120, 90, 3), 128, np.uint8)) == (0, ())
    assert detector.searches == 5


@pytest.mark.parametrize("model, all_turns", [("portrait", (1, 2, 3)), ("selfie", (2,))])
def test_a_turned_portrait_has_the_matte_of_the_upright_one(portraits, model, all_turns):
    session = MattingSession(model)
    photo, truth = portraits["p0143"]
    upright = evaluate(session.matte(photo).alpha, truth).sad
    for turns in all_turns:
        matte = session.matte(turned(photo, turns))
        assert matte.alpha.shape == turned(truth, turns).shape
        assert matte.person_found and matte.faces
        assert evaluate(matte.alpha, turned(truth, turns)).sad < 1.1 * upright
        nose = np.rint(matte.faces[0].points[2]).astype(int)
        assert turned(truth, turns)[nose[1], nose[0]] == 1


def test_a_turned_photo_and_its_mask_have_the_matte_of_the_upright_ones(portraits):
    session = MattingSession(None)
    photo, truth = portraits["p0143"]
    mask = np.uint8(truth > 0.5) * 255
    upright = session.matte(photo, mask=mask)
    lying = session.matte(turned(photo, 1), mask=turned(mask, 1))
    assert len(lying.faces) == len(upright.faces) == 1
    assert np.abs(turned(lying.alpha, -1) - upright.alpha).mean() < 1e-3
