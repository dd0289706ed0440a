"""The products of data preparation are what their versions made of the same before.

A test that fails here tells: raise the version, so that nobody goes on with old work.
"""

from __future__ import annotations

import json
from hashlib import sha256

import cv2
import numpy as np
import pytest
from golden import assert_recorded, fingerprint

from data_prep.caffe_data.alignment import align_to_template, fit_alignment
from data_prep.caffe_data.alpha_distribution import ALPHA_DISTRIBUTION_VERSION, alpha_distribution
from data_prep.caffe_data.augmentation import AUGMENTATIONS
from data_prep.caffe_data.caffe_lmdb import shuffled_keys
from data_prep.caffe_data.products import shuffled
from data_prep.caffe_data.records import RECORDS_VERSION, RecordEncoder
from data_prep.caffe_data.shape_mask import (
    SHAPE_MASK_VERSION,
    ShapeMask,
    align_matte,
    average_mattes,
    sum_mattes,
)
from data_prep.caffe_data.survey import SURVEY_VERSION, survey_portrait
from data_prep.common.images import encode_image, write_image
from data_prep.common.versions import FIRST_RECIPES, recipe_of
from data_prep.composites.composite_set import COMPOSITE_VERSION
from data_prep.composites.composition import CompositionChoice, compose
from data_prep.datasets.dataset import FRAME, Portrait
from data_prep.datasets.layouts import Pair
from data_prep.import_dataset import IMPORT_VERSION, make_portrait, write_portrait
from data_prep.labeling.candidates import LABELED_MATTES_VERSION
from data_prep.labeling.mattes import METHODS, make_matte
from data_prep.labeling.previews import composite, gradient_background

#: By product and version; what is recorded for a version is never changed.
RECORDED: dict[str, dict[int, list[float] | str]] = {
    "p(alpha)": {
        1: [
            -6.746211,
            -9.770707,
            0.456001,
            -9.409546,
            2.627079,
            -2.341758,
            0.221540,
            -5.807462,
        ],
    },
    "survey": {
        1: [470.078, -25.382, 623.912, 98.612, 9.332, -43.505, -60.061, 16.727, 294.008, 533.846],
    },
    "shape mask": {
        1: [
            -85.668,
            222.265,
            24.817,
            -168.204,
            138.118,
            67.941,
            -86.325,
            -411.082,
            462.485,
            -127.422,
            687.492,
            179.431,
            238.179,
            11.012,
            114.536,
            -100.323,
            204.219,
            51.324,
            -161.682,
            130.997,
            93.206,
            -81.041,
            -351.709,
        ],
    },
    "records": {
        1: [
            129.372,
            140.282,
            9.211,
            -333.323,
            14.475,
            -66.805,
            26.909,
            -111.044,
            -131.095,
            118.338,
            -44.064,
            44.552,
            -77.329,
            -164.842,
            173.717,
        ],
    },
    "varied records": {
        1: [
            31.521,
            69.382,
            15.811,
            -300.889,
            68.714,
            -42.192,
            21.626,
            -129.711,
            -142.566,
            156.372,
            -5.630,
            25.936,
            -106.993,
            -123.330,
            219.648,
        ],
    },
    "order of records": {1: "10eee608cd736a56bb10ecccfdd816c20d00a64d235ebc306e1786aedcc2f62d"},
    "import": {
        1: [
            0.000,
            0.000,
            525.000,
            700.000,
            92.823,
            145.970,
            -11.850,
            163.268,
            -113.848,
            -49.893,
            106.517,
            -77.459,
            -164.890,
            122.524,
            239.000,
            205.000,
            624.000,
            832.000,
        ],
    },
    "labeled mattes": {
        1: [
            86.213,
            183.063,
            186.094,
            91.986,
            -227.721,
            130.358,
            -33.058,
            2.342,
            -74.958,
            -41.125,
            88.335,
            184.030,
            184.030,
            95.696,
            -228.198,
            128.375,
            -32.458,
            2.125,
            -70.542,
            -41.925,
        ],
    },
    "composites": {
        1: [
            157.933,
            156.830,
            -110.757,
            -124.763,
            -18.264,
            -3.201,
            31.741,
            43.083,
            -63.263,
            3.344,
            44.723,
            -5.206,
            76.921,
            137.194,
            -95.939,
            -56.560,
            27.603,
            -90.410,
        ]
    },
    "coding": {
        1: [-1.600, -0.550, -2.867, 2.367, 2.033, 1.583, -3.883, -0.267],
    },
}


def smooth_noise(shape, sigma, seed=5):
    """(rows, columns, 3) uint8 blobs of that size."""
    noise = np.random.default_rng(seed).normal(size=(*shape, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def egg(shape, x=0.5, y=0.6, size=0.3):
    """(rows, columns) uint8 matte with a soft border."""
    rows, columns = np.ogrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    distance = np.sqrt(((columns - x) / size) ** 2 + ((rows - y) / (1.4 * size)) ** 2)
    return np.rint(255 * np.clip(8 * (1.05 - distance), 0, 1)).astype(np.uint8)


def face_points(seed):
    """(68, 2) points like those of a face that turns and tilts a little."""
    generator = np.random.default_rng(seed)
    points = np.random.default_rng(0).uniform((-90, -110), (90, 110), (68, 2))
    points += generator.normal(0, 2, points.shape)
    angle = generator.normal(0, 0.1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return points @ turn * generator.uniform(0.9, 1.1) + (300, 350) + generator.normal(0, 15, 2)


@pytest.fixture(scope="module")
def shape_mask():
    """Of three eggs below three faces."""
    landmarks = [face_points(seed) for seed in (1, 2, 3)]
    mattes = [egg(FRAME, *points.mean(axis=0) / (600, 800) + (0, 0.15)) for points in landmarks]
    centers = [points.mean(axis=0) + (9 * k, 250 - 30 * k) for k, points in enumerate(landmarks)]
    template, neck = fit_alignment(landmarks, centers, FRAME)
    aligned = (
        align_matte(matte, align_to_template(points, template, neck, FRAME), FRAME)
        for matte, points in zip(mattes, landmarks, strict=True)
    )
    return ShapeMask(average_mattes([sum_mattes(aligned)]), template, neck)


@pytest.fixture
def portrait(tmp_path):
    """Files of a photo without a face and its matte."""
    found = Portrait("egg", tmp_path / "egg.png", tmp_path / "matte.png")
    write_image(found.photo, smooth_noise(FRAME, 6))
    write_image(found.matte, egg(FRAME))
    return found


def check(product, found, version, name, tolerance=0.0):
    assert_recorded(found, RECORDED[product], version, name, tolerance)


def test_p_alpha_is_that_of_its_version():
    counts = np.random.default_rng(1).integers(0, 1000, 256) * (np.arange(256) % 3 == 0)
    found = fingerprint(np.log(alpha_distribution([counts])))
    check(
        "p(alpha)",
        found,
        ALPHA_DISTRIBUTION_VERSION,
        "ALPHA_DISTRIBUTION_VERSION in data_prep/caffe_data/alpha_distribution.py",
        1e-5,
    )


def test_a_survey_is_that_of_its_version(sample):
    survey = survey_portrait(sample.train[0])
    found = [
        *fingerprint(survey.landmarks, 4),
        *fingerprint(np.sqrt(survey.alpha_counts), 4),
        *survey.center,
    ]
    check("survey", found, SURVEY_VERSION, "SURVEY_VERSION in data_prep/caffe_data/survey.py", 0.3)


def test_a_shape_mask_is_that_of_its_version(shape_mask):
    found = [
        *fingerprint(255 * shape_mask.mean),
        *fingerprint(shape_mask.template, 4),
        *(1000 * shape_mask.neck.shift),
        1000 * shape_mask.neck.tilt,
        *fingerprint(255 * shape_mask.warp_to(face_points(4), FRAME)),
    ]
    name = "SHAPE_MASK_VERSION in data_prep/caffe_data/shape_mask.py"
    check("shape mask", found, SHAPE_MASK_VERSION, name, 0.2)


@pytest.mark.parametrize("vary", [False, True], ids=["plain", "varied"])
def test_records_are_those_of_their_version(portrait, shape_mask, vary):
    encode = RecordEncoder(shape_mask, AUGMENTATIONS, vary)
    versions = encode((portrait, face_points(4)))
    assert len(versions) == len(AUGMENTATIONS)
    found = []
    for part in zip(*versions, strict=True):
        images = [cv2.imdecode(np.frombuffer(f, np.uint8), cv2.IMREAD_UNCHANGED) for f in part]
        found += fingerprint(images, 5)
    name = "RECORDS_VERSION in data_prep/caffe_data/records.py"
    check("varied records" if vary else "records", found, RECORDS_VERSION, name, 0.3)


def test_records_are_in_the_order_of_their_version():
    order = json.dumps([shuffled_keys(40, 3), shuffled(list(range(40)), 3)])
    found = sha256(order.encode()).hexdigest()
    name = "RECORDS_VERSION in data_prep/caffe_data/records.py"
    check("order of records", found, RECORDS_VERSION, name)


def test_an_import_is_that_of_its_version(tmp_path, sample):
    """Cropped around a matte, and around a face."""
    pair = Pair("egg", tmp_path / "egg.png", tmp_path / "egg_matte.png")
    write_image(pair.photo, smooth_noise((700, 560), 6))
    write_image(pair.matte, egg((700, 560), x=0.4))
    faceless = make_portrait(pair)
    write_portrait(faceless, pair, tmp_path / "out")
    files = [tmp_path / "out/images/egg.jpg", tmp_path / "out/mattes/egg.png"]
    found = [*faceless.crop]
    for file in files:
        found += fingerprint(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), 5)
    person = sample.train[1]
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (person.photo, person.matte)]
    pair = Pair("face", tmp_path / "face.png", tmp_path / "face_matte.png")
    for image, path in zip(images, (pair.photo, pair.matte), strict=True):
        wider = cv2.copyMakeBorder(image, 250, 0, 300, 200, cv2.BORDER_REPLICATE)
        write_image(path, wider)
    with_face = make_portrait(pair)
    assert with_face.face and not faceless.face
    found += [*with_face.crop]
    name = "IMPORT_VERSION in data_prep/import_dataset.py"
    check("import", found, IMPORT_VERSION, name, 1.0)


def test_labeled_mattes_are_those_of_their_version():
    photo, truth = smooth_noise((80, 60), 4), egg((80, 60))
    photo = np.where(truth[:, :, None] > 127, photo // 2 + 120, photo // 3).astype(np.uint8)
    band = cv2.dilate(np.uint8((truth > 0) & (truth < 255)), np.ones((7, 7))) > 0
    trimap = np.where(band, 128, truth).astype(np.uint8)
    found = []
    for method in METHODS:
        matte = make_matte(method, photo, trimap)
        found += fingerprint(matte, 5)
        found += fingerprint(composite(photo, matte, gradient_background(matte.shape)), 5)
    name = "LABELED_MATTES_VERSION in data_prep/labeling/candidates.py"
    check("labeled mattes", found, LABELED_MATTES_VERSION, name, 0.5)


def test_composites_are_those_of_their_version():
    person = np.dstack([smooth_noise(FRAME, 6), egg(FRAME)])
    photographs = [smooth_noise((900, 1300), 20), smooth_noise((700, 600), 3)]
    found = []
    for seed in (1, 5, 11):
        choice = CompositionChoice.draw(np.random.default_rng(seed), 2)
        people = [person] * len(choice.placements)
        for image in compose(people, photographs, choice, FRAME):
            found += fingerprint(image, 3)
    name = "COMPOSITE_VERSION in data_prep/composites/composite_set.py"
    check("composites", found, COMPOSITE_VERSION, name, 0.5)


def test_photos_are_coded_as_in_their_version():
    """What JPEG takes away, of a photo that is hard to code."""
    photo = smooth_noise((80, 60), 2)
    decoded = cv2.imdecode(np.frombuffer(encode_image(photo, ".jpg"), np.uint8), 1)
    found = fingerprint(decoded.astype(float) - photo)
    check(
        "coding", found, RECORDS_VERSION, "RECORDS_VERSION in data_prep/caffe_data/records.py", 0.15
    )


def test_a_change_of_the_output_is_told_with_what_to_record():
    values = np.random.default_rng(2).integers(0, 256, (50, 40)).astype(float)
    recorded = {1: fingerprint(values)}
    assert_recorded(fingerprint(values + 1e-6), recorded, 1, "NAME", 0.1)
    changed = values + np.random.default_rng(3).choice((-0.5, 0.5), values.shape)
    with pytest.raises(AssertionError, match="raise NAME above 1 and record for it"):
        assert_recorded(fingerprint(changed), recorded, 1, "NAME", 0.1)
    with pytest.raises(AssertionError, match="Nothing is recorded for NAME = 2"):
        assert_recorded(fingerprint(changed), recorded, 2, "NAME", 0.1)


def test_another_version_or_asset_is_another_recipe():
    keys = {recipe_of("survey", 1, "a"), recipe_of("survey", 2, "a"), recipe_of("survey", 1, "b")}
    keys |= {recipe_of(*first) for first in FIRST_RECIPES}
    assert len(keys) == 3 + len(FIRST_RECIPES)
