"""Mattes and measures are what their versions made of the same photo before.

A test that fails here tells: raise the version, so that no measured error goes on to stand
for other mattes.
"""

from __future__ import annotations

from dataclasses import asdict

import cv2
import numpy as np
import pytest
from golden import assert_recorded, fingerprint

from data_prep.common.images import read_matte, read_photo
from data_prep.datasets.dataset import Dataset
from tools.evaluation.methods import MattingMethod, net_method, segmenter_methods
from tools.evaluation.metrics import METRICS_VERSION, evaluate
from tools.experiments.study import study_methods
from tools.matting.band import probabilities_from_scores
from tools.matting.face_boxes import FaceBox
from tools.matting.models import MATTES_VERSION, MODELS, ROOT
from tools.matting.person_masks import PersonMask, with_second_opinion

SIZE = (210, 280)  # width, height of the portrait in the photo
AROUND = (80, 0, 170, 150)  # pixels above, below, left and right: small people get a close-up

#: By way and version; what is recorded for a version is never changed.
RECORDED: dict[str, dict[int, list[float]]] = {
    "raw": {
        1: [-45.115, -54.747, -255.049, 0.152, 30.300, -7.184, -73.180, 79.689],
        2: [-45.115, -54.747, -255.049, 0.152, 30.300, -7.184, -73.180, 79.689],
        3: [-45.115, -54.747, -255.049, 0.152, 30.300, -7.184, -73.180, 79.689],
        4: [-45.115, -54.747, -255.049, 0.152, 30.300, -7.184, -73.180, 79.689],
        5: [-45.115, -54.747, -255.049, 0.152, 30.300, -7.184, -73.180, 79.689],
        6: [-45.115, -54.747, -255.049, 0.152, 30.300, -7.184, -73.180, 79.689],
        7: [-45.115, -54.747, -255.049, 0.152, 30.3, -7.184, -73.18, 79.689],
        8: [-45.115, -54.747, -255.049, 0.152, 30.3, -7.184, -73.18, 79.689],
        9: [-45.115, -54.747, -255.049, 0.152, 30.3, -7.184, -73.18, 79.689],
        10: [-45.115, -54.747, -255.049, 0.152, 30.3, -7.184, -73.18, 79.689],
    },
    "band": {
        1: [-50.577, -46.089, -250.610, -1.351, 34.219, -6.916, -58.557, 88.560],
        2: [-50.577, -46.089, -250.610, -1.351, 34.219, -6.916, -58.557, 88.560],
        3: [-50.577, -46.089, -250.610, -1.351, 34.219, -6.916, -58.557, 88.560],
        4: [-50.577, -46.089, -250.610, -1.351, 34.219, -6.916, -58.557, 88.560],
        5: [-50.577, -46.089, -250.61, -1.351, 34.219, -6.916, -58.557, 88.56],
        6: [-50.577, -46.089, -250.61, -1.351, 34.219, -6.916, -58.557, 88.56],
        7: [-50.577, -46.089, -250.61, -1.351, 34.219, -6.916, -58.557, 88.56],
        8: [-50.577, -46.089, -250.61, -1.351, 34.219, -6.916, -58.557, 88.56],
        9: [-50.577, -46.089, -250.61, -1.351, 34.219, -6.916, -58.557, 88.56],
        10: [-50.577, -46.089, -250.61, -1.351, 34.219, -6.916, -58.557, 88.56],
    },
    "selfie": {
        1: [-34.101, -57.418, -249.712, -12.953, 16.771, -21.514, -63.816, 85.813],
        2: [-34.101, -57.418, -249.712, -12.953, 16.771, -21.514, -63.816, 85.813],
        3: [-34.099, -57.418, -249.714, -12.956, 16.771, -21.515, -63.813, 85.810],
        4: [-34.099, -57.418, -249.714, -12.956, 16.771, -21.515, -63.813, 85.810],
        5: [-36.527, -61.138, -252.154, -11.934, 18.416, -20.955, -60.641, 83.679],
        6: [-36.527, -61.138, -252.154, -11.934, 18.416, -20.955, -60.641, 83.679],
        7: [-36.587, -60.916, -252.125, -12.046, 18.33, -20.59, -61.119, 84.464],
        8: [-39.576, -61.206, -254.438, -11.752, 16.929, -16.577, -59.691, 83.919],
        9: [-36.69, -61.228, -252.1, -11.813, 16.856, -20.612, -60.357, 85.052],
        10: [-36.009, -61.411, -249.16, -11.793, 20.863, -21.208, -59.654, 84.285],
    },
    "portrait": {
        1: [-29.765, -90.219, -253.540, -53.278, 34.638, -30.381, -56.025, 80.280],
        2: [-29.765, -90.219, -253.540, -53.278, 34.638, -30.381, -56.025, 80.280],
        3: [-31.414, -87.522, -253.895, -51.535, 34.480, -30.871, -54.761, 80.069],
        4: [-31.414, -87.522, -253.895, -51.535, 34.480, -30.871, -54.761, 80.069],
        5: [-31.414, -87.522, -253.895, -51.535, 34.480, -30.871, -54.761, 80.069],
        6: [-31.414, -87.522, -253.895, -51.535, 34.480, -30.871, -54.761, 80.069],
        7: [-31.406, -87.522, -253.888, -51.536, 34.479, -30.861, -54.765, 80.063],
        8: [-31.406, -87.522, -253.888, -51.536, 34.479, -30.861, -54.765, 80.063],
        9: [-31.406, -87.522, -253.888, -51.536, 34.479, -30.861, -54.765, 80.063],
        10: [-31.242, -87.406, -253.759, -51.293, 34.709, -30.662, -54.75, 80.037],
    },
    "ensemble": {
        2: [-29.796, -56.286, -244.77, -15.913, 22.785, -22.76, -60.951, 86.511],
        3: [-30.326, -55.855, -245.887, -15.587, 21.829, -23.581, -61.044, 85.474],
        4: [-30.659, -55.846, -246.804, -15.505, 21.654, -24.102, -61.158, 85.307],
        5: [-31.516, -57.341, -248.359, -14.6, 21.653, -23.4, -60.897, 81.351],
        6: [-32.537, -57.127, -248.035, -14.461, 21.656, -23.171, -61.699, 81.438],
        7: [-32.295, -57.318, -247.836, -14.554, 21.451, -23.152, -61.557, 83.166],
        8: [-34.429, -58.623, -251.372, -14.104, 18.712, -21.106, -64.186, 82.16],
        9: [-34.104, -58.955, -250.12, -12.619, 16.366, -20.468, -63.752, 84.175],
        10: [-32.958, -58.896, -247.828, -11.994, 19.666, -21.061, -61.202, 83.06],
    },
    "one look": {
        1: [0.045, -106.808, -233.577, -34.117, 55.586, -26.375, -45.734, 78.394],
        2: [0.045, -106.808, -233.577, -34.117, 55.586, -26.375, -45.734, 78.394],
        3: [0.443, -106.686, -234.812, -34.284, 54.379, -26.446, -47.417, 77.428],
        4: [0.443, -106.686, -234.812, -34.284, 54.379, -26.446, -47.417, 77.428],
        5: [0.443, -106.686, -234.812, -34.284, 54.379, -26.446, -47.417, 77.428],
        6: [0.443, -106.686, -234.812, -34.284, 54.379, -26.446, -47.417, 77.428],
        7: [0.443, -106.686, -234.812, -34.283, 54.378, -26.446, -47.417, 77.428],
        8: [0.443, -106.686, -234.812, -34.283, 54.378, -26.446, -47.417, 77.428],
        9: [0.443, -106.686, -234.812, -34.283, 54.378, -26.446, -47.417, 77.428],
        10: [0.443, -106.686, -234.812, -34.283, 54.378, -26.446, -47.417, 77.428],
    },
    "bound": {
        1: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
        2: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
        3: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
        4: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
        5: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
        6: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
        7: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
        8: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
        9: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
        10: [-29.425, -54.336, -247.439, -14.823, 14.781, -14.991, -65.435, 83.172],
    },
    "second opinion": {
        1: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.360],
        2: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.360],
        3: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.360],
        4: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.360],
        5: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.360],
        6: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.360],
        7: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.36],
        8: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.36],
        9: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.36],
        10: [71.922, -16.709, -110.219, -46.888, 101.752, 196.909, -17.031, -14.36],
    },
    "person masks": {
        4: [2.586, 4.047, -5.508, 13.377, -1.683, -16.157, 2.556, 2.194],
        5: [2.586, 4.047, -5.508, 13.377, -1.683, -16.157, 2.556, 2.194],
        6: [2.586, 4.047, -5.508, 13.377, -1.683, -16.157, 2.556, 2.194],
        7: [2.586, 4.047, -5.508, 13.377, -1.683, -16.157, 2.556, 2.194],
        8: [2.586, 4.047, -5.508, 13.377, -1.683, -16.157, 2.556, 2.194],
        9: [2.586, 4.047, -5.508, 13.377, -1.683, -16.157, 2.556, 2.194],
        10: [2.586, 4.047, -5.508, 13.377, -1.683, -16.157, 2.556, 2.194],
    },
    "measures": {
        1: [-4.418168, -3.411872, -1.633388, -2.313260, -1.956776, -4.394218],
    },
}


@pytest.fixture(scope="module")
def portrait():
    """A test portrait of the sample in a larger frame: photo and true matte."""
    found = Dataset.open(ROOT / "data/sample").test[0]
    images = read_photo(found.photo), read_matte(found.matte)
    photo, matte = (cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA) for image in images)
    photo = cv2.copyMakeBorder(photo, *AROUND, cv2.BORDER_REPLICATE)
    return photo, cv2.copyMakeBorder(matte, *AROUND, cv2.BORDER_CONSTANT, value=0) / 255


def ways() -> dict[str, MattingMethod]:
    """Every way to a matte: by name."""
    portrait = MODELS["portrait"]
    found = [
        *segmenter_methods(),
        net_method("portrait", "", "portrait"),
        net_method("ensemble", "", "ensemble"),
        # As nets are asked that get one look and no second opinion.
        net_method("one look", "", "lite", portrait.weights, portrait.deploy, portrait.shape_mask),
        next(each for each in study_methods() if each.name == "bound"),
    ]
    return {each.name: each for each in found}


@pytest.mark.parametrize("name", ways())
def test_a_matte_is_that_of_its_version(portrait, name):
    photo, truth = portrait
    found = fingerprint(255 * ways()[name].load()(photo, truth))
    assert_recorded(
        found, RECORDED[name], MATTES_VERSION, "MATTES_VERSION in tools/matting/models.py", 0.2
    )


def test_a_second_opinion_counts_as_in_its_version():
    """A net's scores doubt a disk inside a person of whom the segmenter is certain."""
    rows, columns = np.mgrid[:160, :120]
    person = np.hypot(columns - 60, rows - 100) / 55 < 1
    doubt = np.hypot(columns - 50, rows - 110) < 22
    scores = np.float32(np.where([person & ~doubt, ~person, doubt], 4, -3))
    logit = np.float32(12 * (1 - np.hypot(columns - 60, rows - 100) / 50))
    eyes = np.array([[50.0, 60], [70, 60]])
    face = FaceBox(np.array([45.0, 50, 75, 80]), np.vstack([eyes, np.full((4, 2), 60.0)]), 0.9)
    photo = np.random.default_rng(0).integers(0, 256, (160, 120, 3), np.uint8)
    found = probabilities_from_scores(photo, scores, [face], (160, 120), logit)
    assert_recorded(
        fingerprint(255 * found),
        RECORDED["second opinion"],
        MATTES_VERSION,
        "MATTES_VERSION in tools/matting/models.py",
        0.1,
    )


def test_masks_of_people_count_as_in_their_version():
    """A segmenter sees a disk and loses a bar beside it, which the mask of its person shows."""
    rows, columns = np.mgrid[:160, :120]
    logit = np.float32(12 - 0.3 * np.hypot(columns - 50, rows - 90))
    bar = (abs(rows - 90) < 9) & (columns > 50) & (columns < 108)
    person = np.float32(38 - np.hypot(columns - 48, rows - 90))
    person[bar] = 3
    mask = PersonMask(person, abs(rows - 90) < 60)
    assert_recorded(
        fingerprint(with_second_opinion(logit, [mask])),
        RECORDED["person masks"],
        MATTES_VERSION,
        "MATTES_VERSION in tools/matting/models.py",
        1e-3,
    )


def test_measures_are_those_of_their_version():
    generator = np.random.default_rng(4)
    rows, columns = np.mgrid[:60, :50]
    truth = np.clip((20 - np.hypot(rows - 32, columns - 25)) / 6 + 0.5, 0, 1)
    matte = np.clip(truth + generator.normal(0, 0.1, truth.shape) * (truth < 0.98), 0, 1)
    matte[5:12, 5:12] = 0.7  # not connected to the person
    found = list(asdict(evaluate(matte, truth)).values())
    assert_recorded(
        np.log(found).tolist(),
        RECORDED["measures"],
        METRICS_VERSION,
        "METRICS_VERSION in tools/evaluation/metrics.py",
        1e-4,
    )
