from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from data_prep.common.errors import InputError, TooLargeError
from data_prep.common.files import atomic_write
from data_prep.common.images import (
    read_alpha_channel,
    read_matte,
    read_photo,
    refuse_overwriting,
    write_image,
)
from data_prep.common.pictures import read_picture


@pytest.fixture
def photo():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return cv2.resize(small, (45, 30), interpolation=cv2.INTER_CUBIC)


def save(path, array, mode=None, **options):
    Image.fromarray(array, mode).save(path, **options)
    return path


def test_photo_is_bgr(tmp_path, photo):
    path = save(tmp_path / "a.png", photo[:, :, ::-1].copy())
    np.testing.assert_array_equal(read_photo(path), photo)
    np.testing.assert_array_equal(read_photo(path), cv2.imread(str(path)))


def test_gray_photo_has_three_equal_channels(tmp_path, photo):
    path = save(tmp_path / "a.png", photo[:, :, 0].copy())
    np.testing.assert_array_equal(read_photo(path), np.repeat(photo[:, :, :1], 3, axis=2))


def test_transparent_photo_is_laid_over_white(tmp_path, photo):
    alpha = np.linspace(0, 255, photo[:, :, 0].size).reshape(photo.shape[:2])
    alpha = alpha.astype(np.uint8)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.dstack([photo, alpha]))
    share = alpha[:, :, None] / 255
    expected = photo * share + 255 * (1 - share)
    assert np.abs(read_photo(path) - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, photo, suffix, channels):
    path = tmp_path / f"a{suffix}"
    deep = photo[:, :, 0] if channels == 1 else photo
    cv2.imwrite(str(path), deep.astype(np.uint16) * 257)
    expected = np.repeat(deep[:, :, None], 3, axis=2) if channels == 1 else photo
    assert np.abs(read_photo(path).astype(int) - expected).max() <= 1


def test_cmyk_photo_looks_the_same(tmp_path, photo):
    rgb = Image.fromarray(photo[:, :, ::-1].copy())
    path = tmp_path / "a.tif"
    rgb.convert("CMYK").save(path)
    assert np.abs(read_photo(path).astype(int) - photo).max() <= 1
    jpeg = tmp_path / "a.jpg"
    rgb.convert("CMYK").save(jpeg, quality=98)
    assert np.abs(read_photo(jpeg).astype(int) - photo).mean() < 4


def test_exif_orientation_is_applied(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to view
    path = save(tmp_path / "a.png", photo[:, :, ::-1].copy(), exif=exif)
    np.testing.assert_array_equal(read_photo(path), np.rot90(photo, -1))


@pytest.mark.parametrize("read", [read_photo, read_matte])
@pytest.mark.parametrize("case", ["missing", "folder", "text", "empty", "cut jpg", "cut png"])
def test_unreadable_file_is_named(tmp_path, photo, read, case):
    path = tmp_path / "portrait.jpg"
    if case == "folder":
        path.mkdir()
    elif case == "text":
        path.write_text("not an image")
    elif case == "empty":
        path.touch()
    elif case.startswith("cut"):
        suffix = case.split()[1]
        whole = cv2.imencode(f".{suffix}", photo)[1].tobytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match=r"portrait\.jpg"):
        read(path)


def test_two_pixels_are_too_few(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match="2x2"):
        read_photo(path)


def test_huge_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    path = save(tmp_path / "a.png", np.zeros((50, 50), np.uint8))
    with pytest.raises(TooLargeError, match="megapixels"):
        read_photo(path)


def test_heic_without_its_decoder_is_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"  # the content decides, not the name
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(12))
    with pytest.raises(InputError, match="a.jpg is not a readable image"):
        read_photo(path)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(InputError, match="a.jpg is HEIC, .*pip install pi-heif"):
        read_photo(path)


def test_matte_accepts_what_editors_add(tmp_path, photo):
    gray = photo[:, :, 0].copy()
    for array in (gray, np.dstack([gray] * 3), np.dstack([gray] * 3 + [gray * 0 + 255])):
        path = save(tmp_path / "a.png", array)
        np.testing.assert_array_equal(read_matte(path), gray)
        np.testing.assert_array_equal(read_matte(path.read_bytes()), gray)
    cv2.imwrite(str(path), gray.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_matte(path), gray)


def test_matte_with_colors_or_transparency_is_refused(tmp_path, photo):
    gray = photo[:, :, 0].copy()
    for array in (photo, np.dstack([gray, gray, gray, gray])):
        with pytest.raises(InputError, match="gray PNG"):
            read_matte(save(tmp_path / "a.png", array))


def test_written_png_reads_back(tmp_path, photo):
    write_image(tmp_path / "new" / "a.png", photo)
    np.testing.assert_array_equal(read_photo(tmp_path / "new" / "a.png"), photo)


@pytest.mark.parametrize("name", ["a.jpg", "a.gif", "a"])
def test_format_that_cannot_hold_the_image(tmp_path, name):
    with pytest.raises(InputError):
        write_image(tmp_path / name, np.zeros((4, 4, 4), np.uint8))
    assert not list(tmp_path.iterdir())


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as scratch:
        assert scratch.parent == path.parent and scratch.suffix == ".txt"
        scratch.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_leaves_nothing(tmp_path):
    """A file size limit makes write() fail as a full disk does."""
    program = (
        "import resource, numpy as np\n"
        "from data_prep.common.errors import run_program\n"
        "from data_prep.common.images import write_image\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)\n"
        "raise SystemExit(run_program(lambda: write_image('a.png', noise)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "a.png could not be written" in run.stderr and "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


def test_picture_that_an_encoder_refuses_is_a_sentence_and_no_file(tmp_path):
    """OpenCV says by its result alone that it failed."""
    for name, shape in (("a.jpg", (4, 70_000, 3)), ("a.png", (4, 1_000_001))):
        kind = name[2:].upper()
        with pytest.raises(InputError, match=f"{shape[1]}x4 pixels could not be written as {kind}"):
            write_image(tmp_path / name, np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())


def test_what_is_read_is_not_written_over_by_any_name(tmp_path, monkeypatch):
    photo = tmp_path / "a.png"
    photo.write_bytes(b"photo")
    (tmp_path / "link.png").symlink_to(photo)
    (tmp_path / "hard.png").hardlink_to(photo)
    (tmp_path / "folder").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "link.png", "hard.png", "folder/a.png", "./a.png"):
        with pytest.raises(InputError, match="is read and would be replaced"):
            refuse_overwriting([tmp_path / "new.png", Path(name)], [photo])
        with pytest.raises(InputError, match="is read and would be replaced"):
            refuse_overwriting([photo], [Path("lost.png"), Path(name)])
    (tmp_path / "b.png").write_bytes(b"photo")
    refuse_overwriting([tmp_path / "new.png", tmp_path / "b.png"], [photo])


def test_alpha_channel_is_read_exactly(tmp_path, photo):
    alpha = photo[:, :, 0].copy()
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([photo, alpha]))
    np.testing.assert_array_equal(read_alpha_channel(tmp_path / "a.png"), alpha)


def test_cutout_without_transparency_is_refused(tmp_path, photo):
    with pytest.raises(InputError, match="a.png has no transparency"):
        read_alpha_channel(save(tmp_path / "a.png", photo))


def save_white_is_zero(path, gray):
    """A 16-bit gray TIFF whose light pixels are stored as small numbers."""
    stored = (65535 - gray.astype(int)).astype("<u2").tobytes()
    directory = ImageFileDirectory_v2()
    directory.update(
        {
            256: gray.shape[1],
            257: gray.shape[0],
            258: 16,
            259: 1,
            262: 0,
            273: 0,
            277: 1,
            278: gray.shape[0],
            279: len(stored),
        }
    )
    stream = io.BytesIO()
    directory.save(stream)  # offsets count from its end
    path.write_bytes(stream.getvalue() + stored)


def test_sixteen_bit_tiff_with_white_as_zero_is_no_negative(tmp_path, photo):
    gray = photo[:, :, 0].astype(np.uint16) * 257
    path = tmp_path / "a.tif"
    save_white_is_zero(path, gray)
    np.testing.assert_array_equal(read_matte(path), photo[:, :, 0])
    np.testing.assert_array_equal(read_photo(path), np.dstack([photo[:, :, 0]] * 3))
    picture = read_picture(path, smallest=3)
    assert picture.bgr.dtype == np.uint16
    np.testing.assert_array_equal(picture.bgr, np.dstack([gray] * 3))


def test_matte_of_eight_bits_in_sixteen_is_refused(tmp_path, photo):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), photo[:, :, 0].astype(np.uint16))
    with pytest.raises(InputError, match=r"a\.png has 16 bits, but its largest value is \d+ of"):
        read_matte(path)


def test_cut_outs_and_colors_are_refused_as_what_they_are(tmp_path, photo):
    alpha = np.where(np.arange(photo.shape[1]) < 20, 0, 255) + np.zeros(photo.shape[:2])
    cut_out = save(tmp_path / "cut.png", np.dstack([photo, alpha.astype(np.uint8)]))
    with pytest.raises(InputError, match="cut.png has colors and transparency, as cut-outs have"):
        read_matte(cut_out)
    labels = Image.fromarray((photo[:, :, 0] > 127).astype(np.uint8), "P")
    labels.putpalette([0, 0, 0, 128, 0, 0])
    labels.save(tmp_path / "labels.png")
    with pytest.raises(InputError, match=r"labels.png has colors, such as 128, 0, 0 \(RGB\)"):
        read_matte(tmp_path / "labels.png")


def test_palette_of_grays_is_a_matte(tmp_path, photo):
    gray = photo[:, :, 0]
    picture = Image.fromarray(gray, "P")
    picture.putpalette([value for level in range(256) for value in (level, level, level)])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_matte(tmp_path / "a.png"), gray)
