"""Mattes from outside (`--alpha`): kept as they are, at every depth and in every place."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from caffe_layers.color_models import foreground_colors
from data_prep.common.errors import InputError
from data_prep.common.pictures import read_alpha
from tools import matte as program
from tools.matting.session import MattingSession
from tools.outputs.effects import cut_out
from tools.server.requests import Refusal, job_from, perform

ROWS, COLUMNS = 72, 90


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def soft() -> np.ndarray:
    """Every level of 16 bits can be in it, black and white are."""
    levels = np.random.default_rng(4).integers(0, 65536, (ROWS, COLUMNS), dtype=np.uint16)
    levels[:20], levels[50:] = 0, 65535
    return levels


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    return tmp_path


def shuffled(levels: np.ndarray) -> np.ndarray:
    """The same levels elsewhere."""
    return np.random.default_rng(5).permuted(levels)


def eight(levels: np.ndarray) -> np.ndarray:
    return np.uint8(np.rint(levels / 257))


def matted(folder: Path, alpha: Path, *options: str) -> np.ndarray:
    """The program's answer for the photo of the folder."""
    out = folder / ("out.tif" if "tiff" in options else "out.png")
    arguments = [str(folder / "photo.png"), "--alpha", str(alpha), "-o", str(out), *options]
    assert program.main(arguments) == 0
    return cv2.imread(str(out), cv2.IMREAD_UNCHANGED)


# --- reading --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kind", ["gray", "three channels", "cut-out"])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_matte_is_read_at_its_depth(tmp_path, soft, suffix, kind, depth):
    levels = soft if depth == 16 else eight(soft)
    stored = {
        "gray": levels,
        "three channels": np.dstack([levels] * 3),
        "cut-out": np.dstack([shuffled(levels)] * 2 + [levels, levels]),
    }[kind]
    path = tmp_path / f"matte{suffix}"
    cv2.imwrite(str(path), stored)
    white = np.iinfo(levels.dtype).max
    np.testing.assert_array_equal(read_alpha(path), levels / white)
    np.testing.assert_array_equal(read_alpha(path.read_bytes()), levels / white)


def test_gray_with_transparency_is_a_cut_out_of_a_gray_photo(tmp_path, soft):
    gray, opacity = shuffled(eight(soft)), eight(soft)
    Image.fromarray(np.dstack([gray, opacity]), "LA").save(tmp_path / "cutout.png")
    np.testing.assert_array_equal(read_alpha(tmp_path / "cutout.png"), opacity / 255)


def test_floats_are_read_as_they_are(tmp_path, soft):
    shares = np.float32(soft / 65535)
    Image.fromarray(shares).save(tmp_path / "matte.tif")
    np.testing.assert_array_equal(read_alpha(tmp_path / "matte.tif"), shares)


def test_a_matte_is_turned_upright_as_its_photo_is(tmp_path, soft):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    for depth, levels in ((8, eight(soft)), (16, soft)):
        path = tmp_path / f"{depth}.png"
        Image.fromarray(levels).save(path, exif=exif)
        np.testing.assert_array_equal(
            read_alpha(path), np.rot90(levels, -1) / np.iinfo(levels.dtype).max
        )


@pytest.mark.parametrize(
    "stored, words",
    [
        (np.uint8(np.arange(48).reshape(4, 4, 3) * 5), "has colors and no transparency"),
        (np.uint8(np.eye(8)), "8 bits, but its largest value is 1 of 255; multiply it by 255"),
        (np.uint16(np.eye(8) * 255), "largest value is 255 of 65535; multiply it by 257"),
    ],
)
def test_what_is_no_matte_is_refused_with_the_remedy(tmp_path, stored, words):
    cv2.imwrite(str(tmp_path / "matte.png"), stored)
    with pytest.raises(InputError, match=words):
        read_alpha(tmp_path / "matte.png")


def test_floats_beyond_1_are_refused(tmp_path):
    Image.fromarray(np.float32([[0, 255, 3]] * 3)).save(tmp_path / "matte.tif")
    with pytest.raises(InputError, match="values from 0 to 255; floats of a matte go from 0 to 1"):
        read_alpha(tmp_path / "matte.tif")


# --- the program ------------------------------------------------------------------------


def test_alpha_written_is_alpha_given_at_the_depth_of_the_output(folder, soft):
    deep, shallow = folder / "deep.png", folder / "shallow.png"
    cv2.imwrite(str(deep), soft)
    cv2.imwrite(str(shallow), eight(soft))
    write = ("--output", "alpha")
    np.testing.assert_array_equal(matted(folder, shallow, *write), eight(soft))
    np.testing.assert_array_equal(matted(folder, deep, *write), eight(soft))
    np.testing.assert_array_equal(matted(folder, deep, *write, "--format", "tiff"), soft)
    sixteen = matted(folder, shallow, *write, "--format", "tiff")
    np.testing.assert_array_equal(sixteen, eight(soft) * np.uint16(257))


def test_a_cut_out_keeps_the_matte_and_loses_the_background(folder, photo, soft):
    cv2.imwrite(str(folder / "matte.png"), eight(soft))
    found = matted(folder, folder / "matte.png", "--output", "cutout")
    alpha = eight(soft) / 255
    np.testing.assert_array_equal(found, cut_out(foreground_colors(photo, alpha), alpha))
    np.testing.assert_array_equal(found[:, :, 3], eight(soft))
    # The cut-out is a matte itself.
    again = matted(folder, folder / "out.png", "--output", "alpha", "-o", str(folder / "again.png"))
    assert again is not None
    np.testing.assert_array_equal(cv2.imread(str(folder / "again.png"), -1), eight(soft))


def test_the_trimap_of_a_matte_is_known_where_the_matte_is(folder, soft):
    cv2.imwrite(str(folder / "matte.png"), soft)
    trimap = matted(folder, folder / "matte.png", "--output", "trimap")
    np.testing.assert_array_equal(trimap == 255, soft == 65535)
    np.testing.assert_array_equal(trimap == 0, soft == 0)


def test_a_folder_of_mattes_goes_with_a_folder_of_photos(tmp_path, photo, soft, capsys):
    for name, levels in (("a", soft), ("b", soft[::-1]), ("c", soft)):
        (tmp_path / "photos/in").mkdir(parents=True, exist_ok=True)
        (tmp_path / "mattes/in").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"photos/in/{name}.png"), photo)
        if name != "c":
            cv2.imwrite(str(tmp_path / f"mattes/in/{name}_alpha.png"), eight(levels))
    out = tmp_path / "out"
    arguments = [str(tmp_path / "photos"), "--alpha", str(tmp_path / "mattes"), "-o", str(out)]
    arguments += ["--output", "alpha", "--json", "--workers", "1"]
    assert program.main(arguments) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines] == ["done", "done", "failed"]
    assert "holds no matte for" in lines[2]["message"]
    assert "in/c.png or in/c_alpha.png" in lines[2]["message"]
    for name, levels in (("a", soft), ("b", soft[::-1])):
        found = cv2.imread(str(out / f"in/{name}_alpha.png"), -1)
        np.testing.assert_array_equal(found, eight(levels))


def test_a_matte_of_another_size_is_refused_in_a_sentence(folder, soft):
    cv2.imwrite(str(folder / "matte.png"), soft[:, 1:])
    words = r"matte.png is 89x72, and .*photo.png is 90x72 \(upright\); a matte is kept as it is"
    with pytest.raises(InputError, match=words):
        matted(folder, folder / "matte.png")


def test_an_empty_matte_shows_nobody(folder, capsys):
    cv2.imwrite(str(folder / "matte.png"), np.zeros((ROWS, COLUMNS), np.uint8))
    arguments = [str(folder / "photo.png"), "--alpha", str(folder / "matte.png")]
    assert program.main([*arguments, "-o", str(folder / "out.png")]) == program.NOBODY_STATUS
    assert not (folder / "out.png").exists()
    told = capsys.readouterr().err
    assert "matte.png, the matte given for " in told and "photo.png, is black everywhere" in told
    parts = {"photo": (folder / "photo.png").read_bytes()}
    parts["alpha"] = (folder / "matte.png").read_bytes()
    with pytest.raises(Refusal) as refused:
        perform(job_from([], parts, 10**6), MattingSession(None))
    assert refused.value.status == 422 and "alpha is black everywhere" in refused.value.sentence


def test_the_server_takes_small_backgrounds_as_the_program_does(folder, photo, soft):
    cv2.imwrite(str(folder / "matte.png"), eight(soft))
    cv2.imwrite(str(folder / "ground.png"), np.full((3, 5, 3), 90, np.uint8))
    names = {"photo": "photo.png", "alpha": "matte.png", "background": "ground.png"}
    parts = {part: (folder / name).read_bytes() for part, name in names.items()}
    answer = perform(job_from([("background", "image")], parts, 10**6), MattingSession(None))
    found = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    wanted = matted(folder, folder / "matte.png", "--background", str(folder / "ground.png"))
    np.testing.assert_array_equal(found, wanted)


# --- Python -------------------------------------------------------------------------------


def test_a_session_keeps_the_matte_and_loads_nothing(photo, soft):
    session = MattingSession(None)
    for alpha in (soft, eight(soft), soft / 65535, np.float32(soft / 65535)):
        matte = session.matte(photo, alpha=alpha)
        shares = alpha / np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else alpha
        np.testing.assert_array_equal(matte.alpha, shares)
        assert matte.person_found and matte.faces == ()
        np.testing.assert_array_equal(matte.foreground, foreground_colors(photo, shares))


@pytest.mark.parametrize(
    "alpha, words",
    [
        (np.zeros((ROWS, 5)), "The matte is 5x72, and the photo is 90x72"),
        (np.zeros((ROWS, COLUMNS, 3)), "array of uint8, uint16 or float, not"),
        (np.zeros((ROWS, COLUMNS), bool), "not .* of bool"),
        (np.full((ROWS, COLUMNS), 1.5), "goes from 0 to 1"),
        (np.full((ROWS, COLUMNS), np.nan), "goes from 0 to 1"),
    ],
)
def test_arrays_that_are_no_matte_of_the_photo_are_refused(photo, alpha, words):
    with pytest.raises(InputError, match=words):
        MattingSession(None).matte(photo, alpha=alpha)


def test_a_mask_and_a_matte_exclude_each_other(photo, soft):
    with pytest.raises(InputError, match="one of trimap, mask and alpha"):
        MattingSession(None).matte(photo, mask=eight(soft), alpha=soft)
