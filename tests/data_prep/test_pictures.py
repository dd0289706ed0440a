"""What a photo keeps on its way through a program."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from data_prep.common import pictures
from data_prep.common.errors import InputError, collected_warnings
from data_prep.common.images import IMAGE_SUFFIXES, read_photo
from data_prep.common.pictures import (
    Picture,
    encode_picture,
    in_color_space,
    profile_fault,
    read_picture,
    sixteen_bits,
    write_picture,
)

ARTIST, CAMERA, EXPOSURE, ORIENTATION = 0x013B, 0x0110, 0x829A, 0x0112
LATITUDE, WIDTH = 2, 0xA002
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" b="kept"/></x:xmpmeta>'


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(70, 90, 3) uint16, smooth, asymmetric."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 65536, (7, 9, 3)).astype(np.float32)
    return np.uint16(cv2.resize(small, (90, 70), interpolation=cv2.INTER_LINEAR))


@pytest.fixture(scope="module")
def profile() -> bytes:
    """A valid profile that is not plain sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def described(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ARTIST], exif[CAMERA], exif[ORIENTATION] = "Someone", "A camera", orientation
    exif.get_ifd(ExifTags.IFD.Exif)[EXPOSURE] = 0.5
    exif.get_ifd(ExifTags.IFD.Exif)[WIDTH] = 90
    exif.get_ifd(ExifTags.IFD.GPSInfo)[LATITUDE] = (48.0, 12.0, 30.0)
    return exif


def saved(pixels: np.ndarray, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels[:, :, ::-1].copy() if pixels.ndim == 3 else pixels).save(
        stream, kind, **options
    )
    return stream.getvalue()


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def test_eight_bits_are_what_read_photo_reads(tmp_path, photo):
    path = tmp_path / "a.png"
    path.write_bytes(saved(pictures.eight_bits(photo), "PNG", exif=described(6)))
    picture = read_picture(path)
    assert picture.bgr.dtype == np.uint8
    np.testing.assert_array_equal(picture.bgr, read_photo(path))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay(photo, suffix, channels):
    alpha = np.full_like(photo[:, :, :1], 65535)
    pixels = {1: photo[:, :, 0], 3: photo, 4: np.dstack([photo, alpha])}[channels]
    picture = read_picture(encoded(suffix, pixels))
    expected = np.repeat(photo[:, :, :1], 3, axis=2) if channels == 1 else photo
    np.testing.assert_array_equal(picture.bgr, expected)


def test_transparent_sixteen_bits_are_laid_over_white(photo):
    alpha = photo[:, :, 1]
    share = alpha[:, :, None] / 65535
    picture = read_picture(encoded(".png", np.dstack([photo, alpha])))
    assert np.abs(picture.bgr - (photo * share + 65535 * (1 - share))).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bits_are_turned_as_eight_bits(photo, orientation, kind):
    if kind == "png":
        exif = described(orientation).tobytes().removeprefix(b"Exif\0\0")
        deep = encode_picture(photo, ".png", Picture(photo, exif=exif))
        shallow = saved(pictures.eight_bits(photo), "PNG", exif=described(orientation))
    else:
        tag = (ORIENTATION, "H", 1, orientation, True)
        deep, shallow = io.BytesIO(), io.BytesIO()
        for stream, pixels in ((deep, photo), (shallow, pictures.eight_bits(photo))):
            tifffile.imwrite(stream, pixels[:, :, ::-1], photometric="rgb", extratags=[tag])
        deep, shallow = deep.getvalue(), shallow.getvalue()
    upright = read_picture(deep)
    assert upright.bgr.dtype == np.uint16
    np.testing.assert_array_equal(pictures.eight_bits(upright.bgr), read_picture(shallow).bgr)
    assert upright.bgr.shape[:2] == ((70, 90) if orientation < 5 else (90, 70))


def test_planes_that_the_decoder_scrambles_are_refused(photo):
    stream = io.BytesIO()
    planes = np.moveaxis(photo[:, :, ::-1], 2, 0)
    tifffile.imwrite(stream, planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(InputError, match="x.tif stores its 16-bit colors in separate planes"):
        read_picture(stream.getvalue(), "x.tif")
    stream = io.BytesIO()
    shallow = pictures.eight_bits(planes)
    tifffile.imwrite(stream, shallow, photometric="rgb", planarconfig="separate")
    expected = pictures.eight_bits(photo)
    np.testing.assert_array_equal(read_picture(stream.getvalue()).bgr, expected)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
def test_profile_and_metadata_are_kept(photo, profile, suffix):
    shallow = pictures.eight_bits(photo)
    source = read_picture(
        saved(shallow, "JPEG", exif=described(6), icc_profile=profile, xmp=XMP, quality=95)
    )
    written = encode_picture(source.bgr, suffix, source)
    again = read_picture(written)
    assert again.bgr.shape == source.bgr.shape == (90, 70, 3)
    assert again.icc == profile
    assert b'b="kept"' in again.xmp and b"Orientation" not in again.xmp
    with Image.open(io.BytesIO(written)) as image:  # Pillow's own view of the file
        exif = image.getexif()
        assert ORIENTATION not in exif
        assert exif[ARTIST] == "Someone" and exif[CAMERA] == "A camera"
        assert exif.get_ifd(ExifTags.IFD.Exif)[EXPOSURE] == 0.5
        assert exif.get_ifd(ExifTags.IFD.Exif)[WIDTH] == 70  # as it is turned
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[LATITUDE] == (48.0, 12.0, 30.0)


def test_thumbnail_of_the_photo_is_dropped(photo):
    """It would show the background that was cut away."""
    exif = described()
    thumbnail = saved(pictures.eight_bits(photo), "JPEG")
    directory = exif.get_ifd(ExifTags.IFD.IFD1)
    directory[0x0201], directory[0x0202] = 0, len(thumbnail)
    content = saved(pictures.eight_bits(photo), "JPEG", exif=exif.tobytes() + thumbnail)
    source = read_picture(content)
    assert source.exif is not None and b"JFIF" not in source.exif


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_outputs_read_back_elsewhere(photo, suffix, channels):
    pixels = {1: photo[:, :, 0], 3: photo, 4: np.dstack([photo, photo[:, :, 0]])}[channels]
    content = encode_picture(pixels, suffix)
    buffer = np.frombuffer(content, np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED), pixels)
    if suffix == ".tif":
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages[0]
            order = [2, 1, 0, 3][:channels]
            stored = page.asarray()
            np.testing.assert_array_equal(stored, pixels[..., order] if channels > 1 else pixels)
            assert [extra.name for extra in page.extrasamples] == ["UNASSALPHA"] * (channels == 4)


def test_tiff_has_sixteen_bits_and_webp_eight(photo):
    shallow = pictures.eight_bits(photo)
    np.testing.assert_array_equal(
        read_picture(encode_picture(shallow, ".tiff")).bgr, sixteen_bits(shallow)
    )
    assert read_picture(encode_picture(photo, ".webp")).bgr.dtype == np.uint8


def test_webp_keeps_transparency_exactly(photo):
    shallow = pictures.eight_bits(photo)
    pixels = np.dstack([shallow, shallow[:, :, 0]])
    with Image.open(io.BytesIO(encode_picture(pixels, ".webp"))) as image:
        np.testing.assert_array_equal(np.asarray(image)[:, :, 3], pixels[:, :, 3])


def test_gray_output_gets_no_color_profile(photo, profile):
    source = Picture(photo, icc=profile)
    for suffix in (".png", ".tif"):
        with Image.open(io.BytesIO(encode_picture(photo[:, :, 0], suffix, source))) as image:
            assert "icc_profile" not in image.info


def test_cmyk_and_gray_drop_a_profile_that_is_not_of_rgb(photo, profile):
    shallow = pictures.eight_bits(photo)
    gray_profile = bytearray(profile)
    gray_profile[16:20] = b"GRAY"
    content = saved(shallow[:, :, 0], "PNG", icc_profile=bytes(gray_profile))
    assert read_picture(content).icc is None
    stream = io.BytesIO()
    cmyk = Image.fromarray(shallow[:, :, ::-1].copy()).convert("CMYK")
    cmyk.save(stream, "TIFF", icc_profile=b"CMYK" * 40)
    picture = read_picture(stream.getvalue())
    assert picture.icc is None
    assert np.abs(picture.bgr.astype(int) - shallow).max() <= 1


def changed(profile: bytes, at: int, content: bytes) -> bytes:
    return profile[:at] + content + profile[at + len(content) :]


def big_endian(number: int) -> bytes:
    return struct.pack(">I", number)


# What cameras and editors make of profiles, and what is said of them.
DAMAGES = {
    "longer": (lambda p: p + b"\0", "says that it has"),
    "longer by an entry": (lambda p: p + bytes(4), "says that it has"),
    "cut off": (lambda p: p[:300], "says that it has"),
    "cut off in the header": (lambda p: p[:128], "cut off"),
    "no profile": (lambda p: b"sRGB" * 40, "no ICC profile"),
    "length of nothing": (lambda p: changed(p, 0, bytes(4)), "says that it has 0"),
    "odd length": (lambda p: changed(p + bytes(3), 0, big_endian(len(p) + 3)), "multiple of 4"),
    "for gray": (lambda p: changed(p, 16, b"GRAY"), "for gray pixels, not for RGB"),
    "line break": (lambda p: changed(p, 16, b"\r\n\r\n"), "for other pixels, not for RGB"),
    "abstract": (lambda p: changed(p, 12, b"abst"), "does not describe images"),
    "device link": (lambda p: changed(p, 12, b"link"), "does not describe images"),
    "no connection": (lambda p: changed(p, 20, b"RGB "), "does not describe images"),
    "no intent": (lambda p: changed(p, 64, b"\xff\xff"), "rendering intent"),
    "entries": (lambda p: changed(p, 128, big_endian(100_000)), "100000 entries do not fit"),
    "entry outside": (lambda p: changed(p, 136, big_endian(10_000_000)), "lies outside"),
    "no entries": (lambda p: changed(p[:128] + bytes(4), 0, big_endian(132)), "converted"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_profile_that_would_be_refused_is_left_out_and_said(photo, profile, damage):
    damaged, words = DAMAGES[damage][0](profile), DAMAGES[damage][1]
    content = saved(pictures.eight_bits(photo), "PNG", icc_profile=damaged)
    with collected_warnings() as told:
        source = read_picture(content, "x.png")
    assert source.icc is None
    (sentence,) = told
    assert sentence.startswith("x.png: its color profile cannot be used (") and words in sentence
    assert sentence.isprintable()
    np.testing.assert_array_equal(source.bgr, pictures.eight_bits(photo))


def test_profiles_that_writers_take_are_kept(profile):
    for usual in (
        profile,
        changed(profile, 8, b"\x02\x40\0\0"),  # version 2
        changed(profile, 12, b"scnr"),
        changed(profile, 64, big_endian(9)),  # an intent that readers pass over
    ):
        assert profile_fault(usual) is None
        content = encode_picture(np.zeros((64, 64, 3), np.uint8), ".png", Picture(None, usual))
        with Image.open(io.BytesIO(content)) as image:
            assert image.info["icc_profile"] == usual


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
def test_photo_with_a_damaged_profile_is_written_whole_in_every_format(photo, profile, kind):
    shallow, damaged = pictures.eight_bits(photo), profile + b"\0"
    if kind == "HEIF":
        stream = io.BytesIO()
        image = pillow_heif.from_pillow(Image.fromarray(shallow[:, :, ::-1].copy()))
        image.save(stream, icc_profile=damaged)
        content = stream.getvalue()
    else:
        content = saved(shallow, kind, icc_profile=damaged)
    with collected_warnings() as told:
        source = read_picture(content)
    assert len(told) == 1
    for pixels in (source.bgr, sixteen_bits(source.bgr)):
        for suffix in (".png", ".webp", ".tif", ".jpg"):
            written = encode_picture(pixels, suffix, source)
            with Image.open(io.BytesIO(written)) as image:
                assert image.size == (90, 70) and "icc_profile" not in image.info
                image.load()
            again = cv2.imdecode(np.frombuffer(written, np.uint8), cv2.IMREAD_UNCHANGED)
            if suffix == ".png":
                np.testing.assert_array_equal(again, pixels)
            elif suffix == ".tif":
                np.testing.assert_array_equal(again, sixteen_bits(pixels))
            else:
                assert np.abs(again.astype(int) - source.bgr).mean() < 4


def test_profile_larger_than_readers_of_png_take_is_left_out(photo, profile):
    large = profile + bytes(2_000_000)
    large = changed(large, 0, big_endian(len(large)))
    source = Picture(photo, icc=large)
    with collected_warnings() as told:
        written = encode_picture(photo, ".png", source)
    assert told == [
        f"A color profile of {len(large)} bytes is more than readers of PNG take; "
        "the picture is written without it."
    ]
    np.testing.assert_array_equal(read_picture(written).bgr, photo)
    assert read_picture(encode_picture(photo, ".tif", source)).icc == large


def test_photo_comes_through_a_pipe_as_from_a_file(tmp_path, photo):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = encoded(".png", photo)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    writer.start()
    np.testing.assert_array_equal(read_picture(pipe).bgr, photo)
    writer.join()
    with pytest.raises(InputError, match="/dev/null is not a readable image: it is empty"):
        read_picture("/dev/null")
    with pytest.raises(InputError, match="does not exist or is no file"):
        read_picture(tmp_path)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_known_suffix_names_a_format_that_is_read(suffix, photo):
    """Pillow knows what suffix stands for which format."""
    telephones = dict.fromkeys((".heic", ".heif", ".hif"), "HEIF")
    kind = {**Image.registered_extensions(), **telephones}[suffix]
    shallow = pictures.eight_bits(photo)
    if kind == "HEIF":
        stream = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(shallow)).save(stream)
        content = stream.getvalue()
    else:
        content = saved(shallow, kind)
    assert read_picture(content).bgr.shape == (70, 90, 3)


def test_colors_move_between_profiles(profile):
    flat = np.full((64, 64, 3), (40, 90, 200), np.uint8)
    same = in_color_space(Picture(flat), profile)
    assert np.abs(same.astype(int) - flat).max() <= 1
    np.testing.assert_array_equal(in_color_space(Picture(flat, icc=profile), profile), flat)
    np.testing.assert_array_equal(in_color_space(Picture(flat, icc=b"damaged"), None), flat)


def test_heic_of_a_telephone(tmp_path, photo):
    shallow = cv2.resize(pictures.eight_bits(photo), (180, 140))
    path = tmp_path / "a.heic"
    image = Image.fromarray(shallow[:, :, ::-1].copy())
    pillow_heif.from_pillow(image).save(path, quality=95, exif=described(6).tobytes())
    picture = read_picture(path)
    assert picture.bgr.shape == (180, 140, 3)
    turned = np.rot90(shallow, -1)
    assert np.abs(picture.bgr.astype(int) - turned).mean() < 6
    with Image.open(io.BytesIO(encode_picture(picture.bgr, ".png", picture))) as image:
        assert image.getexif()[ARTIST] == "Someone" and ORIENTATION not in image.getexif()


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x88" * 90]
)
def test_damaged_exif_does_not_cost_the_photo(photo, exif):
    shallow = pictures.eight_bits(photo)
    content = saved(shallow, "PNG", exif=exif)
    np.testing.assert_array_equal(read_picture(content).bgr, shallow)
    encode_picture(shallow, ".tif", read_picture(content))


def test_bombs_are_refused_before_they_are_decoded(monkeypatch, photo):
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    png = bytearray(encoded(".png", photo))
    png[16:29] = header
    png[29:33] = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    for limit in (Image.MAX_IMAGE_PIXELS, None):  # ours holds without Pillow's
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(InputError, match="x.png has more than 64 megapixels"):
            read_picture(bytes(png), "x.png")


def test_animation_and_small_photos_are_refused(photo):
    frame = Image.fromarray(pictures.eight_bits(photo))
    for kind in ("GIF", "WEBP", "PNG"):
        stream = io.BytesIO()
        other = Image.fromarray(255 - pictures.eight_bits(photo))
        frame.save(stream, kind, save_all=True, append_images=[other])
        with pytest.raises(InputError, match="x is an animation"):
            read_picture(stream.getvalue(), "x")
    with pytest.raises(InputError, match="90x63 pixels; it takes at least 64x64"):
        read_picture(encoded(".png", photo[:63]))


def test_further_pages_of_a_tiff_are_said(photo):
    pages = [Image.fromarray(np.uint8(photo >> 8) ^ flip) for flip in (0, 255)]
    first, all_pages = io.BytesIO(), io.BytesIO()
    pages[0].save(first, "TIFF")
    pages[0].save(all_pages, "TIFF", save_all=True, append_images=pages[1:])
    with collected_warnings() as told:
        one = read_picture(first.getvalue(), "one.tif")
        assert told == []
        many = read_picture(all_pages.getvalue(), "many.tif")
    assert told == ["many.tif has several pages; the first one is read."]
    np.testing.assert_array_equal(one.bgr, many.bgr)


def test_files_too_large_to_read_are_refused(tmp_path):
    path = tmp_path / "sparse.jpg"
    with open(path, "wb") as stream:
        stream.truncate(pictures.LARGEST_FILE + 1)
    with pytest.raises(InputError, match="sparse.jpg is larger than 512 MiB"):
        read_picture(path)


def test_format_that_cannot_hold_the_picture(tmp_path, photo):
    cut = np.dstack([photo, photo[:, :, 0]])
    for name, pixels in (("a.gif", photo), ("a.jpg", cut), ("a", photo)):
        with pytest.raises(InputError):
            write_picture(tmp_path / name, pixels)
    with pytest.raises(InputError, match="WEBP does not hold a picture of 17000x4"):
        write_picture(tmp_path / "a.webp", np.zeros((4, 17000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_written_picture_reads_back(tmp_path, photo):
    write_picture(tmp_path / "new" / "a.png", photo)
    np.testing.assert_array_equal(read_picture(tmp_path / "new" / "a.png").bgr, photo)
