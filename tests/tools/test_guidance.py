"""Trimaps and masks from outside, as segmenters, editors and data sets store them."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo, write_image
from tools import matte
from tools.matting.guidance import (
    MASK,
    TRIMAP,
    Guidance,
    check_shape,
    covers_border,
    levels_of,
    read_guidance,
)
from tools.matting.session import MattingSession

SIZE = (60, 80)


def ball(radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return np.hypot(rows - 30, columns - 40) < radius


MASKED = np.uint8(ball(20))  # 0 and 1
CLASSES = MASKED + np.uint8(ball(14))  # 0 background, 1 unknown, 2 foreground
GOOD_MASK = 255 * MASKED
GOOD_TRIMAP = np.uint8([0, 128, 255])[CLASSES]


def levels(*values: int) -> np.ndarray:
    """The trimap with other levels of background, unknown and foreground."""
    return np.array(values)[CLASSES]


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiff(array: np.ndarray) -> bytes:
    return saved(Image.fromarray(array), "TIFF")


def palette(indices: np.ndarray, *colors: tuple[int, int, int]) -> bytes:
    image = Image.fromarray(indices).convert("P")
    image.putpalette([channel for color in colors for channel in color])
    return saved(image)


def with_alpha(color: tuple[int, ...] | np.ndarray, alpha: np.ndarray) -> bytes:
    colors = np.broadcast_to(np.uint8(color), (*SIZE, np.shape(color)[-1]))
    return saved(Image.fromarray(np.dstack([colors, alpha])))


def read(kind: str, content: bytes) -> Guidance:
    return levels_of(kind, read_guidance(kind, content, "given.png"), "given.png")


BLACK, GRAY, WHITE = (0, 0, 0), (128, 128, 128), (255, 255, 255)
RED, BLUE = (255, 0, 0), (0, 0, 255)
PORTRAIT = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        png(GOOD_MASK),
        png(GOOD_MASK.astype(np.uint16) * 257),
        png(np.dstack([GOOD_MASK] * 3)),
        with_alpha(np.dstack([GOOD_MASK] * 3), np.full(SIZE, 255, np.uint8)),
        with_alpha(np.dstack([GOOD_MASK] * 3), np.zeros(SIZE, np.uint8)),
        with_alpha(GOOD_MASK[:, :, None], GOOD_MASK),
        saved(Image.fromarray(GOOD_MASK).convert("1")),
        saved(Image.fromarray(GOOD_MASK).convert("1"), "TIFF"),
        saved(Image.fromarray(GOOD_MASK), "GIF"),
        palette(MASKED, BLACK, WHITE),
        palette(1 - MASKED, WHITE, BLACK),
        tiff(MASKED.astype(np.float32)),
    ],
)
def test_masks_that_need_no_interpretation(content):
    found = read(MASK, content)
    white = 1 if found.values.dtype == np.float32 else 255
    np.testing.assert_array_equal(found.values, white * MASKED)
    assert found.assumed == ""


@pytest.mark.parametrize(
    ("content", "assumed"),
    [
        (png(MASKED), "holds 0 and 1: 1 is taken for white"),
        (png(MASKED.astype(np.uint16)), "holds 0 and 1: 1"),
        (png(GOOD_MASK.astype(np.uint16)), "holds 0 and 255: 255 is taken for white"),
        (tiff(MASKED.astype(np.int32)), "holds 0 and 1: 1"),
        (tiff(GOOD_MASK.astype(np.float32)), "from 0 to 255: 255"),
        (palette(MASKED, BLACK, (128, 0, 0)), "holds 0 and 1: 1"),
        (with_alpha(BLACK, GOOD_MASK), "transparency is taken for the mask"),
        (with_alpha(WHITE[:1], GOOD_MASK), "transparency is taken for the mask"),
        (with_alpha(PORTRAIT, GOOD_MASK), "transparency is taken for the mask"),
    ],
)
def test_masks_that_name_themselves_are_read_and_it_is_said(content, assumed):
    found = read(MASK, content)
    white = 1 if found.values.dtype == np.float32 else 255
    np.testing.assert_array_equal(found.values, white * MASKED)
    assert found.assumed.startswith("given.png") and assumed in found.assumed


def test_soft_and_compressed_masks_stay_as_they_are():
    soft = cv2.GaussianBlur(GOOD_MASK, (0, 0), 3)
    hazy = np.where(MASKED, 250, 6).astype(np.uint8)
    video = np.where(MASKED, 235, 16).astype(np.uint8)
    small = cv2.resize(GOOD_MASK, (20, 15), interpolation=cv2.INTER_AREA)
    for mask in (soft, hazy, video, small, GOOD_TRIMAP):
        found = read(MASK, png(mask))
        np.testing.assert_array_equal(found.values, mask)
        assert found.assumed == ""
    for kind in ("JPEG", "WEBP", "AVIF"):
        found = read(MASK, saved(Image.fromarray(GOOD_MASK), kind, quality=60))
        assert np.abs(found.values.astype(int) - GOOD_MASK).mean() < 3
    shares = np.float32(soft / 255)
    np.testing.assert_array_equal(read(MASK, tiff(shares)).values, shares)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (png(127 * MASKED), "no foreground: it holds 0 and 127;"),
        (png(128 * MASKED), "no foreground: it holds 0 and 128;"),
        (png(15 * MASKED), "no foreground: it holds 0 and 15;"),
        (png(np.uint8(levels(0, 127, 1))), "no foreground: it holds 0, 1 and 127;"),
        (png(4095 * MASKED.astype(np.uint16)), "no foreground: it holds 0 and 4095;"),
        (png(0 * MASKED), "no foreground: it holds 0 only;"),
        (png(0 * MASKED + 255), "no background: it holds 255 only;"),
        (png(0 * MASKED + 128), "no foreground and no background: it holds 128 only;"),
        (png(np.uint8(levels(60, 128, 255))), "no background: it holds 60, 128 and 255;"),
        (tiff(np.float32(MASKED) / 2), "no foreground: it holds values from 0 to 0.5;"),
        (tiff(np.float32(MASKED) * 100), "holds values from 0 to 100;"),
        (tiff(np.where(MASKED, np.float32(1), np.nan)), "holds values that are no numbers;"),
        (tiff(np.int32(MASKED) - 1), "from -1 to 0, which are no levels of 16 bits;"),
        (palette(15 * MASKED, *[BLACK] * 15, RED), "holds the labels 0 and 15;"),
        (palette(MASKED, RED, BLUE), "has colors .#0000ff and #ff0000.;"),
        (png(np.uint8(RED) * MASKED[:, :, None]), "has colors .#000000 and #0000ff.;"),
        (png(PORTRAIT), r"has colors .\d+ of them.;"),
        (png(PORTRAIT[:, :, 0]), "is no mask: .* a photo or noise;"),
        (with_alpha(GOOD_TRIMAP[:, :, None], GOOD_MASK), "both grays and transparency;"),
        (with_alpha(RED, 128 * MASKED), "no foreground: it holds 0 and 128;"),
    ],
)
def test_masks_in_doubt_are_refused_with_the_values_found(content, sentence):
    with pytest.raises(InputError, match=f"^given.png .*{sentence}.*white .255.*[.]$"):
        read(MASK, content)


@pytest.mark.parametrize(
    ("content", "assumed"),
    [
        (png(GOOD_TRIMAP), ""),
        (png(GOOD_TRIMAP.astype(np.uint16) * 257), ""),
        (png(np.dstack([GOOD_TRIMAP] * 3)), ""),
        (palette(CLASSES, BLACK, GRAY, WHITE), ""),
        (tiff(np.float32(levels(0, 0.5, 1))), ""),
        (png(np.uint8(levels(0, 1, 2))), "holds 0, 1 and 2: they are taken for"),
        (png(np.uint16(levels(0, 1, 2))), "holds 0, 1 and 2: they are taken for"),
        (png(np.uint16(levels(0, 128, 255))), "holds 0, 128 and 255: 255 is taken for white"),
        (png(np.uint8(levels(10, 128, 240))), "holds 10, 128 and 240: they are taken for"),
        (png(np.uint8(levels(16, 128, 235))), "holds 16, 128 and 235: they are taken for"),
        (palette(CLASSES, BLACK, BLUE, RED), "holds 0, 1 and 2: they are taken for"),
        (saved(Image.fromarray(np.uint8([BLACK, BLUE, WHITE])[CLASSES])), "its #0000ff is taken"),
        (with_alpha(BLACK, GOOD_TRIMAP), "transparency is taken for the trimap"),
    ],
)
def test_trimaps_that_name_themselves_are_read(content, assumed):
    found = read(TRIMAP, content)
    np.testing.assert_array_equal(found.values, GOOD_TRIMAP)
    assert assumed in found.assumed and bool(found.assumed) == bool(assumed)


def test_trimaps_in_jpeg_mattes_and_scribbles_stay_as_they_are():
    scribbles = np.full(SIZE, 128, np.uint8)
    scribbles[30, 30:50], scribbles[2, 5:70] = 255, 0
    matte = cv2.GaussianBlur(GOOD_MASK, (0, 0), 3)
    for trimap in (scribbles, matte, np.uint8(levels(2, 90, 253))):
        found = read(TRIMAP, png(trimap))
        np.testing.assert_array_equal(found.values, trimap)
        assert found.assumed == ""
    for quality in (30, 75):
        found = read(TRIMAP, saved(Image.fromarray(GOOD_TRIMAP), "JPEG", quality=quality))
        assert np.abs(found.values.astype(int) - GOOD_TRIMAP).mean() < 4


def test_a_trimap_without_unknown_is_taken_at_its_word_and_it_is_said():
    found = read(TRIMAP, png(GOOD_MASK))
    np.testing.assert_array_equal(found.values, GOOD_MASK)
    assert "leaves nothing unknown" in found.assumed and "as a mask" in found.assumed


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (png(np.uint8(levels(0, 128, 128))), "no foreground: it holds 0 and 128;"),
        (png(np.uint8(levels(128, 128, 255))), "no background: it holds 128 and 255;"),
        (png(np.uint8(levels(128, 128, 128))), "no foreground and no background: it holds 128"),
        (png(np.uint8(levels(0, 0, 0))), "no foreground: it holds 0 only;"),
        (png(np.uint8(levels(255, 255, 255))), "no background: it holds 255 only;"),
        (png(np.uint8(levels(0, 2, 1))), "no foreground: it holds 0, 1 and 2;"),
        (png(np.uint8(levels(2, 3, 1))), "no foreground: it holds 1, 2 and 3;"),
        (png(np.uint8(levels(0, 127, 1))), "no foreground: it holds 0, 1 and 127;"),
        (png(MASKED), "no foreground: it holds 0 and 1;"),
        (tiff(np.float32(levels(0, 1, 2))), "holds values from 0 to 2;"),
        (palette(15 * MASKED, *[BLACK] * 15, RED), "holds the labels 0 and 15;"),
        (png(PORTRAIT[:, :, 0]), "is no trimap: .* a photo or noise;"),
        (
            png(np.uint8(np.where(ball(3), 255, np.where(ball(5), 0, levels(10, 128, 240))))),
            "is unknown nearly everywhere: .*;",
        ),
    ],
)
def test_trimaps_in_doubt_are_refused_with_the_values_found(content, sentence):
    with pytest.raises(InputError, match=f"^given.png .*{sentence}.*gray .128.*[.]$"):
        read(TRIMAP, content)


def test_shapes_may_differ_by_rounding_only():
    photo = (384, 300, 3)
    for shape in ((384, 300), (192, 150), (385, 301), (96, 75), (128, 100)):
        check_shape(Guidance(np.zeros(shape)), "given.png", photo, "ann.jpg")
    with pytest.raises(InputError, match="given.png is 300x300, and ann.jpg is 300x384 .*shape"):
        check_shape(Guidance(np.zeros((300, 300))), "given.png", photo, "ann.jpg")
    with pytest.raises(InputError, match="given.png is 384x300, and .*; turn it by 90 degrees"):
        check_shape(Guidance(np.zeros((300, 384))), "given.png", photo, "ann.jpg")


def test_border_of_an_inverted_mask():
    person = ball(20) | (np.mgrid[: SIZE[0], : SIZE[1]][0] > 45)  # shoulders, down to the bottom
    assert not covers_border(person)
    assert covers_border(~person)


# --- in the session -------------------------------------------------------------


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Head and shoulders of the astronaut."""
    return np.ascontiguousarray(read_photo(fetch("astronaut"))[:300, 60:360])


@pytest.fixture(scope="module")
def session() -> MattingSession:
    return MattingSession(None)


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    """Roughly the astronaut, 0 and 255."""
    mask = np.zeros((300, 300), np.uint8)
    cv2.ellipse(mask, (164, 116), (56, 80), 0, 0, 360, 255, -1)
    cv2.ellipse(mask, (170, 300), (120, 100), 0, 0, 360, 255, -1)
    return mask


def test_mask_of_zeros_and_ones_gives_the_matte_of_the_good_one(session, photo, person):
    wanted = session.matte(photo, mask=person)
    assert 0.2 < wanted.alpha.mean() < 0.8 and len(wanted.faces) == 1
    np.testing.assert_array_equal(session.matte(photo, mask=person // 255).alpha, wanted.alpha)
    np.testing.assert_array_equal(session.matte(photo, mask=person / 255).alpha, wanted.alpha)


def test_inverted_guidance_is_recognized_by_the_face(session, photo, person):
    with pytest.raises(InputError, match="mask is inverted.*exchange"):
        session.matte(photo, mask=255 - person)
    unsure = cv2.morphologyEx(person, cv2.MORPH_GRADIENT, np.ones((15, 15))) > 0
    trimap = np.where(unsure, 128, person).astype(np.uint8)
    with pytest.raises(InputError, match="trimap is inverted.*exchange"):
        session.matte(photo, trimap=255 - trimap)
    assert session.matte(photo, trimap=trimap).person_found


def test_only_the_shape_mask_needs_landmarks(photo, person, monkeypatch):
    """Those of dlib come from a model that may not be used commercially."""
    monkeypatch.setattr("tools.matting.face_landmarks.FaceLandmarker", None)
    for model in ("ensemble", "selfie"):
        assert MattingSession(model).matte(photo).faces
    with pytest.raises(TypeError):
        MattingSession("portrait").matte(photo)
    session = MattingSession(None)
    assert session.matte(photo, mask=person).faces
    trimap = np.where(cv2.dilate(person, np.ones((15, 15))) == person, person, 128).astype(np.uint8)
    with pytest.raises(InputError, match="trimap is inverted.*exchange"):
        session.matte(photo, trimap=255 - trimap)
    covering = np.full((300, 300), 255, np.uint8)
    covering[:40, :40], covering[40:60, :40] = 0, 128
    assert session.matte(photo, trimap=covering).person_found


def test_mask_without_anything_certain_is_refused(session, photo):
    noise = np.uint8(255 * (np.random.default_rng(2).random((300, 300)) > 0.5))
    with pytest.raises(InputError, match="no foreground wider than"):
        session.matte(photo, mask=noise)


# --- on the command line --------------------------------------------------------


def test_command_line_says_what_it_assumes_and_refuses_the_rest(tmp_path, photo, person, capsys):
    picture, ones, half = (tmp_path / name for name in ("ann.png", "ones.png", "half.png"))
    write_image(picture, photo)
    write_image(ones, person // 255)
    write_image(half, person // 2)
    out = tmp_path / "out"
    arguments = [str(picture), "--output", "alpha", "-o", str(out)]
    assert matte.main([*arguments, "--mask", str(ones)]) == 0
    assert f"{ones} holds 0 and 1: 1 is taken for white." in capsys.readouterr().err
    alpha = cv2.imread(str(out / "ann_alpha.png"), cv2.IMREAD_UNCHANGED)
    assert 50 < alpha.mean() < 200
    for option in ("--mask", "--trimap"):
        with pytest.raises(InputError, match=f"{half} has no foreground: it holds 0 and 127"):
            matte.main([*arguments, option, str(half)])
