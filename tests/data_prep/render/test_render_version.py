"""What decides a rendered photo is what `RENDER_VERSION` made of it before.

A test that fails here tells: raise the version, so that nobody goes on with old photos.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from hashlib import sha256

import cv2
import numpy as np
import pytest
from checkout import ROOT
from golden import assert_recorded, fingerprint

from data_prep.common.digests import content_key
from data_prep.common.versions import recipe_of
from data_prep.render import RENDER_VERSION
from data_prep.render.hair.growth import grow_hair
from data_prep.render.people.landmarks import landmark_points
from data_prep.render.portrait_set import Settings
from data_prep.render.shot.photo import develop, take_photo
from data_prep.render.shot.portrait import choose_portrait
from data_prep.render.shot.quality import Quality
from data_prep.render.shot.staging import stage

NAME = "RENDER_VERSION in data_prep/render/__init__.py"
#: By step and version; what is recorded for a version is never changed.
RECORDED: dict[str, dict[int, list[float] | str]] = {
    "choices": {1: "41409788a0f4c398aaeb9603219a32395a0de92d1e5605bb3411755cc7b4a682"},
    "staging": {
        1: [
            -223.805,
            -151.239,
            219.036,
            249.674,
            522.676,
            -27.261,
            695.628,
            103.274,
            -396.931,
            -274.385,
            46.117,
            365.503,
            551.604,
            -89.779,
            678.228,
            101.506,
        ],
    },
    "development": {
        1: [
            -32.258,
            -45.758,
            -36.858,
            31.983,
            -68.508,
            -28.771,
            -46.246,
            -44.158,
            35.500,
            -73.008,
            -22.154,
            -42.854,
            -32.646,
            85.579,
            -15.662,
            -25.625,
            -43.042,
            -15.254,
            1.304,
            -33.913,
            -34.554,
            -44.979,
            22.492,
            25.300,
            -95.817,
            -19.508,
            -42.367,
            -23.858,
            23.467,
            -31.942,
        ],
    },
    "matte": {
        1: [298.400, -103.670, -87.180, 29.896, -69.517, 20.496, 338.075, -192.871],
    },
    "photo": {
        1: [313.917, 70.333, -199.000, 250.750, 196.583, -8.583, -339.333, -303.917],
    },
    "hair": {
        1: [
            318.520,
            -535.846,
            -221.647,
            -35.781,
            50.710,
            195.585,
            155.978,
            -628.770,
            719.738,
            -83.515,
            168.409,
            630.541,
        ],
    },
}


def check(step, found, tolerance=0.0):
    assert_recorded(found, RECORDED[step], RENDER_VERSION, NAME, tolerance)


def rounded(value):
    """JSON with what another processor may compute otherwise rounded away."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, (list, tuple)) else value


def test_what_is_drawn_for_a_photo_is_that_of_its_version():
    drawn = [choose_portrait(seed, n, k) for seed, n, k in ((0, 0, 4), (0, 57, 4), (77, 366, 1))]
    text = json.dumps(rounded([asdict(choice) for choice in drawn]), sort_keys=True)
    check("choices", sha256(text.encode()).hexdigest())


def test_how_people_stand_before_the_camera_is_that_of_its_version(mesh):
    choices = [choose_portrait(77, n, 1) for n in range(40)]
    some = [next(c for c in choices if c.hand is not None), choices[0]]
    found = []
    for choice in some:
        staging = stage(mesh, choice)
        found += fingerprint(1000 * staging.subject.vertices, 4)
        points = landmark_points(staging.subject, staging.camera)
        found += fingerprint(staging.project(points, (800, 600)), 4)
    check("staging", found, 0.05)


def test_how_hair_grows_is_that_of_its_version(posed):
    found = []
    for number in (0, 3, 5, 9):  # short, loose, curly and tied
        hair = choose_portrait(77, number, 1).hair
        hair = replace(hair, strands=min(hair.strands, 300))
        strands = grow_hair(
            np.random.default_rng(1), hair, posed.subject.head, posed.skin, posed.field, None
        )
        found += fingerprint(1000 * np.concatenate([each.points.ravel() for each in strands]), 3)
    check("hair", found, 0.05)


def test_how_photos_are_developed_is_that_of_its_version(mesh):
    rows, columns = np.mgrid[:160, :120]
    coverage = np.clip((44 - np.hypot(columns - 60, rows - 80)) / 12 + 0.5, 0, 1)
    light = (0.3 + 0.005 * (120 - columns))[..., None] * np.array([0.9, 0.6, 0.4])
    color = np.dstack([coverage[..., None] * light, coverage]).astype(np.float32)
    found = []
    for number in (0, 3, 6, 7, 8, 9):  # painted backgrounds, one with bystanders
        choice = choose_portrait(77, number, 1)
        foreground = develop(
            color, coverage.astype(np.float32), (60, 80, 16), 0.2, choice.development
        )
        photo = take_photo(foreground, choice.background, choice.development, mesh)
        found += [*fingerprint(foreground.colors, 2), *fingerprint(photo, 3)]
    check("development", found, 0.3)


def test_a_set_of_the_code_that_keyed_by_digests_is_not_rendered_again():
    """Keys of photos 0 and 1 of `make portrait-set` in the journal of commit 64d2747."""
    settings = Settings(77, 1, Quality(), ".jpg", 8, test_every=5, validation_every=16)
    recipe = recipe_of("render", 1)
    assert [content_key(recipe, settings.of_pictures(), number, 0) for number in (0, 1)] == [
        "51c5179df061fb80be3515a52882ce2b542ee44c4aa3579ccd8da929a312cb48",
        "40696a891dae4ae61813a59eb30b26ff04004743ec6fbdf3f4e9acf30e528ef3",
    ]


@pytest.mark.render
def test_a_rendered_portrait_is_that_of_its_version(tmp_path):
    options = ["--scale", "0.16", "--samples", "4", "--lens-positions", "8", "--seed", "77"]
    command = [sys.executable, "-m", "data_prep.render.portraits", "--only", "0", *options]
    subprocess.run([*command, "--per-person", "1", "--out", str(tmp_path)], cwd=ROOT, check=True)
    matte = cv2.imread(str(tmp_path / "mattes/p77_00000.png"), cv2.IMREAD_UNCHANGED)
    photo = cv2.imread(str(tmp_path / "images/p77_00000.jpg"))
    check("matte", fingerprint(matte), 0.3)
    # Coarse: paths of light part on other processors.
    check("photo", fingerprint(cv2.resize(photo, (12, 16), interpolation=cv2.INTER_AREA)), 2.0)
