"""The program a user runs first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.assets import fetch
from data_prep.errors import InputError
from data_prep.images import read_photo
from tools import matte
from tools.foreground import cutout

PROGRAM = Path(matte.__file__)


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run tools/matte.py as a user does."""
    command = [sys.executable, PROGRAM, *arguments]
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    folder = tmp_path_factory.mktemp("run")
    return run(fetch("astronaut"), cwd=folder), folder / "out"


def read(folder: Path, kind: str) -> np.ndarray:
    return cv2.imread(str(folder / f"astronaut_{kind}.png"), cv2.IMREAD_UNCHANGED)


def test_astronaut(results):
    process, folder = results
    assert process.returncode == 0, process.stderr
    assert len(process.stdout.strip().splitlines()) == 1
    alpha = read(folder, "alpha") / 255
    assert alpha.shape == (512, 512)
    assert alpha[60:500, 205:245].min() > 0.95  # face, neck, chest
    assert alpha[:40, :100].max() < 0.05
    assert alpha[:200, 350:].max() < 0.05  # the shuttle
    hair = alpha[15:130, 145:310]
    assert np.mean((hair > 0.1) & (hair < 0.9)) > 0.005


def test_cutout_and_sheet(results):
    _, folder = results
    person, alpha, picture = (read(folder, kind) for kind in ("cutout", "alpha", "sheet"))
    np.testing.assert_array_equal(person[:, :, 3], alpha)
    photo = read_photo(fetch("astronaut"))
    solid = alpha == 255
    assert np.abs(person[solid, :3] - photo[solid].astype(float)).mean() < 2
    assert picture.shape == (512, 3 * 512 + 2 * matte.GAP, 3)
    np.testing.assert_array_equal(picture[:, :512], photo)
    np.testing.assert_array_equal(picture[:, -512:, 0], alpha)
    assert not list(folder.glob(".*"))  # no scratch files


def test_cutout_is_free_of_the_old_background():
    rows, columns = np.mgrid[:60, :80]
    alpha = np.clip((columns - 30) / 20, 0, 1)
    person, ground = np.array([40, 60, 200]), np.array([30, 220, 40])
    photo = alpha[:, :, None] * person + (1 - alpha[:, :, None]) * ground
    colors = cutout(np.uint8(np.round(photo)), alpha)[:, :, :3].astype(float)
    edge = (alpha > 0.2) & (alpha < 0.9)
    assert np.abs(colors[edge] - person).max() < 25
    assert np.abs(photo[edge] - person).max() > 100


def test_sheet_shows_the_checkerboard_where_alpha_is_zero():
    photo = np.full((40, 40, 3), 7, np.uint8)
    person = np.dstack([photo, np.zeros((40, 40), np.uint8)])
    after = matte.sheet(photo, person)[:, 40 + matte.GAP : 80 + matte.GAP]
    assert set(np.unique(after)) == set(matte.CHECKER_GRAYS)


def test_large_photos_get_a_small_sheet():
    person = np.zeros((2000, 1000, 4), np.uint8)
    picture = matte.sheet(person[:, :, :3], person)
    assert picture.shape == (matte.SHEET_HEIGHT, 1200 + 2 * matte.GAP, 3)


def test_missing_photo_is_one_sentence_and_a_failure(tmp_path):
    process = run("nobody.jpg", cwd=tmp_path)
    assert process.returncode == 1
    assert len(process.stderr.strip().splitlines()) == 1
    assert "nobody.jpg" in process.stderr
    assert not (tmp_path / "out").exists()


def test_bad_photos_are_refused(tmp_path):
    corrupt, tiny = tmp_path / "corrupt.jpg", tmp_path / "tiny.png"
    corrupt.write_bytes(fetch("astronaut").read_bytes()[:5000])
    cv2.imwrite(str(tiny), np.zeros((2, 9, 3), np.uint8))
    for path in (corrupt, tiny):
        with pytest.raises(InputError, match=path.name):
            matte.main([str(path), "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_no_face_is_said(tmp_path, capsys):
    photo = read_photo(fetch("astronaut"))
    photo = cv2.resize(photo, (160, 160), interpolation=cv2.INTER_AREA)
    path = tmp_path / "small.png"
    cv2.imwrite(str(path), photo)
    assert matte.main([str(path), "-o", str(tmp_path)]) == 0
    assert "no face found" in capsys.readouterr().out
    assert (tmp_path / "small_alpha.png").exists()
