"""The sheet that compares models on photos."""

from __future__ import annotations

import errno

import cv2
import numpy as np
import pytest

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from tools import compare
from tools.matting.session import Matte
from tools.outputs.photos import photos_at
from tools.outputs.sheets import CAPTION_HEIGHT, GAP


def test_a_folder_stands_for_its_photos_and_those_of_the_folders_in_it(tmp_path, caplog):
    (tmp_path / "deep").mkdir()
    for name in ("b.jpg", "a.PNG", "a_cutout.png", "notes.txt", "deep/c.webp"):
        (tmp_path / name).touch()
    inside = [tmp_path / name for name in ("a.PNG", "b.jpg", "deep/c.webp")]
    assert photos_at([tmp_path]) == inside
    assert "outputs of earlier runs: " in caplog.text and "a_cutout.png" in caplog.text
    assert photos_at([tmp_path, inside[1]]) == inside  # each once
    assert photos_at([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]  # was named
    with pytest.raises(InputError, match="missing.jpg does not exist"):
        photos_at([tmp_path / "missing.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photo in .*empty"):
        photos_at([tmp_path / "empty"])


class Everything:
    """A model for which everything is a person, but dark photos are no photos or closed."""

    def __init__(self, _model):
        pass

    def matte(self, photo):
        if not photo.any():
            raise InputError("It is dark; take a light.")
        if photo.max() < 10:
            raise PermissionError(errno.EACCES, "Permission denied", "dim.png")
        ones = np.ones(photo.shape[:2])
        return Matte(photo, ones, np.stack([ones, 0 * ones, 0 * ones]), (), True)


def test_bad_photos_are_named_and_the_others_are_on_the_sheet(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "MattingSession", Everything)
    for name, level in (("a", 90), ("dark", 0), ("dim", 5), ("z", 90)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((90, 70, 3), level, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    out = tmp_path / "out" / "sheet.png"
    assert compare.main([str(tmp_path), "-o", str(out), "--models", "selfie"]) == 1
    assert len(cv2.imread(str(out))) == 2 * compare.ROW_HEIGHT
    told = capsys.readouterr()
    assert "2 of 5 photos" in told.out
    assert "dark.png: It is dark; take a light." in told.err and "broken.jpg" in told.err
    assert "dim.png could not be read or written (Permission denied); check" in told.err


def test_a_sheet_that_cannot_be_written_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "MattingSession", None)  # no model is loaded
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"never read")
    for name, words in (("sheet.bmp", "not as '.bmp'"), ("sheet", "not as ''"), ("", "a folder")):
        with pytest.raises(InputError, match=words):
            compare.main([str(photo), "-o", str(tmp_path / name)])
    with pytest.raises(InputError, match="a.jpg is a file, not a folder"):
        compare.main([str(photo), "-o", str(photo / "sheet.jpg")])
    compare.check_sheet(tmp_path / "sheet.png", 10_000)
    with pytest.raises(InputError, match="A JPEG has room for 2.. photos, not for 10000"):
        compare.check_sheet(tmp_path / "sheet.jpg", 10_000)


def test_help_tells_the_defaults(capsys):
    with pytest.raises(SystemExit):
        compare.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "(default: selfie portrait ensemble)" in said and "(out/compare.jpg)" in said


def test_sheet_does_not_replace_a_photo(tmp_path):
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"the only copy")
    with pytest.raises(InputError, match="a.jpg is read and would be replaced"):
        compare.main([str(tmp_path), "-o", str(photo)])
    assert photo.read_bytes() == b"the only copy"


def test_a_panorama_is_no_wider_than_the_sheet_has_room():
    photo = np.full((64, 20_000, 3), 200, np.uint8)
    certain = np.ones((3, 64, 20_000), np.float32)
    matte = Matte(photo, certain[0], certain, (), True)
    height, width = compare.row_of("wide", photo, {"selfie": matte}).shape[:2]
    assert width <= 3 * compare.MOST_TILE_WIDTH + 8 * GAP and height <= compare.ROW_HEIGHT


def test_a_row_shows_what_each_model_calls_unknown_and_foreground():
    photo = np.full((560, 420, 3), 200, np.uint8)
    certain = np.zeros((3, 560, 420), np.float32)
    certain[0, :, :210] = certain[2, :, 210:] = 1
    everything = Matte(photo, np.ones((560, 420)), certain, (), True)
    nothing = Matte(photo, np.zeros((560, 420)), certain, (), False)
    row = compare.row_of("name", photo, {"one": everything, "other": nothing})
    height, width = compare.TILE_HEIGHT, 210
    assert row.shape == (height + CAPTION_HEIGHT + 2 * GAP, 5 * (width + GAP) + GAP, 3)
    tiles = [
        row[GAP + CAPTION_HEIGHT :, GAP + n * (width + GAP) :][:height, :width] for n in range(5)
    ]
    np.testing.assert_array_equal(tiles[0], 200)
    assert (tiles[1][:, 10] == 255).all() and (tiles[1][:, -10] == 128).all()
    np.testing.assert_array_equal(tiles[2], 200)
    np.testing.assert_array_equal(tiles[3], tiles[1])
    assert (tiles[4] == compare.GREEN).all()


def test_models_stand_side_by_side_and_photos_below_each_other(tmp_path):
    photo, out = fetch("astronaut"), tmp_path / "sheet.png"
    small = tmp_path / "narrow.png"
    cv2.imwrite(str(small), cv2.resize(read_photo(photo), (200, 300)))
    assert compare.main([str(photo), str(small), "--models", "selfie", "-o", str(out)]) == 0
    sheet = cv2.imread(str(out))
    square, narrow = 280, round(200 * 280 / 300)
    assert sheet.shape == (2 * (280 + CAPTION_HEIGHT + 2 * GAP), 3 * (square + GAP) + GAP, 3)
    # The astronaut's face is hers in the cut-out, the flag is not.
    cutout = sheet[GAP + CAPTION_HEIGHT :, GAP + 2 * (square + GAP) :][:square, :square]
    photo_tile = sheet[GAP + CAPTION_HEIGHT :, GAP:][:square, :square]
    face = np.s_[50:90, 110:140]
    assert np.abs(cutout[face].astype(int) - photo_tile[face]).mean() < 3
    assert np.abs(cutout[60:100, 10:30].astype(int) - compare.GREEN).mean() < 3
    assert (sheet[-GAP - 10 :, 3 * (narrow + GAP) + GAP :] == 255).all()
