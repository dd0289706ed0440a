"""Photos with what should survive an edit: 16 bits, color profile, metadata."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import MAX_TEXT_CHUNK
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from data_prep.common.errors import InputError, TooLargeError
from data_prep.common.files import atomic_write, require_file
from data_prep.common.images import (
    JPEG_QUALITY,
    LARGEST_FILE,
    SMALLEST_SIDE,
    compressed,
    is_stream,
    open_image,
    over_white,
    read_stream,
    stores_white_as_zero,
    to_eight_bits,
    upright,
)

logger = logging.getLogger(__name__)

SMALLEST_PHOTO = 64  # pixels, of the shorter side
LARGEST_PHOTO = 64_000_000  # pixels; what full-frame cameras reach

Tag = ExifTags.Base
# What describes the photo, not how its file stores the pixels.
KEPT_TAGS = (
    Tag.ImageDescription,
    Tag.Make,
    Tag.Model,
    Tag.XResolution,
    Tag.YResolution,
    Tag.ResolutionUnit,
    Tag.Software,
    Tag.DateTime,
    Tag.Artist,
    Tag.HostComputer,
    Tag.Copyright,
    Tag.Rating,
    Tag.RatingPercent,
)
KEPT_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
EXIF_HEADER = b"Exif\0\0"
XMP_TAG = 700
JPEG_SEGMENT = 65_500  # bytes of metadata that one segment holds

TIFF_DEFLATE, TIFF_UNASSOCIATED_ALPHA, TIFF_HORIZONTAL_PREDICTOR = 8, 2, 2
TIFF_COMPRESSION_LEVEL = 1  # higher ones gain little on the noise of 16 bits
TIFF_STRIP_ROWS = 64

# ICC profiles: bytes of the header and of an entry in the table of tags; the classes of
# profiles that describe images, and the spaces that colors are converted through.
ICC_HEADER, ICC_TAG = 128, 12
ICC_IMAGE_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
ICC_CONNECTION_SPACES = (b"XYZ ", b"Lab ")
# What colors are converted from by their profile, by Pillow's mode.
NOT_RGB = {"CMYK": "CMYK", "L": "gray"}
ICC_COLOR_SPACES = {b"GRAY": "gray", b"CMYK": "CMYK", b"Lab ": "Lab"}

WEBP_QUALITY = 95
BLOCK_ROWS = 256  # of work in wide numbers on large photos

# How to turn stored pixels upright, by EXIF orientation: quarter turns
# counterclockwise, then whether the columns change sides.
TURNS = {
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}


@dataclass(frozen=True)
class Picture:
    """A photo and what its file says about it.

    Attributes
    ----------
    bgr : (H, W, 3) uint8 or uint16 ndarray
        Upright and opaque; in the color space of `icc`.
    icc : bytes or None
        RGB color profile; None is sRGB.
    exif : bytes or None
        In TIFF structure, without orientation and thumbnail: the one is
        applied, the other shows the photo before the edit.
    xmp : bytes or None
        Without orientation.
    """

    bgr: np.ndarray
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None


def read_picture(
    source: Path | str | bytes,
    name: str | None = None,
    largest: int = LARGEST_PHOTO,
    smallest: int = SMALLEST_PHOTO,
) -> Picture:
    """Read a photo of any common kind with its 16 bits, profile and metadata.

    Gray becomes three equal channels; CMYK and gray with a profile become
    sRGB; transparent parts are laid over white; the EXIF orientation is applied.
    A color profile that other programs would refuse (`profile_fault`) is left out, and
    a warning is logged.

    Parameters
    ----------
    source : Path, str or bytes
        A file, a pipe or, as bytes, the content.
    name : str, optional
        What messages call it; the path by default.
    largest : int
        Pixels in all; more are refused before anything is decoded.
    smallest : int
        Pixels of the shorter side.

    Raises
    ------
    InputError
        As `data_prep.common.images.open_image`, and if the file is larger than
        `LARGEST_FILE` or its values are floating-point numbers.
    """
    content, name = _content_and_name(source, name, "The photo")
    fault = None
    if not content:
        raise InputError(f"{name} is not a readable image: it is empty; give the photo itself.")
    with open_image(content, name, largest, smallest) as image:
        icc = image.info.get("icc_profile")
        orientation = _orientation(image)
        deep = _stores_sixteen_bit_colors(image, content)
        negative = stores_white_as_zero(image)
        image = upright(image)
        exif, xmp = _exif(image), _xmp(image)
        if deep:
            image.close()
            bgr = _turned(_sixteen_bit_bgr(content, name), orientation)
            if negative:
                np.subtract(65535, bgr, out=bgr)
        else:
            image = to_eight_bits(image, name)
            if icc and image.mode in NOT_RGB:
                converted = _to_srgb(image, icc)
                if converted is None:
                    fault = f"it is damaged or not for {NOT_RGB[image.mode]} pixels"
                else:
                    image = converted
                icc = None
            rgb = np.asarray(over_white(image).convert("RGB"))
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    if icc:
        fault = profile_fault(icc)
    if fault:
        icc = None
        logger.warning(
            "%s: its color profile cannot be used (%s); "
            "the picture is read and written without it.",
            name,
            fault,
        )
    return Picture(bgr, icc or None, exif, xmp)


def read_alpha(
    source: Path | str | bytes, name: str | None = None, largest: int = LARGEST_PHOTO
) -> np.ndarray:
    """Read a soft matte at whatever depth it is stored, values kept as they are.

    Parameters
    ----------
    source : Path, str or bytes
        A file, a pipe or, as bytes, the content: a gray image, or one with transparency,
        whose alpha channel is taken.
    name : str, optional
        What messages call it; the path by default.
    largest : int
        Pixels in all; more are refused before anything is decoded.

    Returns
    -------
    (H, W) float64 ndarray
        Upright, in [0, 1]: 255 of 8 bits and 65535 of 16 are 1.

    Raises
    ------
    InputError
        As `data_prep.common.images.open_image`, and if the image has colors and no
        transparency, or values that are no shares of its white.
    """
    content, name = _content_and_name(source, name, "The matte")
    with open_image(content, name, largest, SMALLEST_SIDE) as image:
        orientation = _orientation(image)
        if _stores_sixteen_bit_colors(image, content) and len(image.getbands()) > 1:
            image.close()
            values = _matte_channel(_turned(_sixteen_bit_pixels(content, name), orientation), name)
        else:
            image = upright(image)
            if image.mode in ("F", "I") or image.mode.startswith("I;16"):
                values = np.array(image)
            elif image.mode in ("L", "1") and not image.has_transparency_data:
                values = np.array(image.convert("L"))
            else:
                rgba = np.array(image.convert("RGBA"))
                values = _matte_channel(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), name)
    return _shares_of_white(values, name)


def _matte_channel(pixels: np.ndarray, name: str) -> np.ndarray:
    """The opacity of (H, W, 4) pixels, or their gray if all are opaque."""
    if pixels.ndim == 2:
        return pixels
    white = np.iinfo(pixels.dtype).max
    if pixels.shape[2] == 4 and (pixels[:, :, 3] < white).any():
        return np.ascontiguousarray(pixels[:, :, 3])
    gray = np.ascontiguousarray(pixels[:, :, 0])
    if (pixels[:, :, 1:3] != gray[:, :, None]).any():
        raise InputError(
            f"{name} has colors and no transparency; save the matte as a gray image, or as the "
            "alpha channel of a cut-out."
        )
    return gray


def _shares_of_white(values: np.ndarray, name: str) -> np.ndarray:
    """Stored values of a matte as (H, W) float64 in [0, 1]."""
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        # Written this way round, so that NaN does not pass.
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"{name} holds values from {low:g} to {high:g}; floats of a matte go from 0 to 1."
            )
        return values.astype(np.float64)
    white = 255 if values.dtype == np.uint8 else 65535
    if low < 0 or high > white:
        raise InputError(f"{name} has more than 16 bits; save it with 8 or 16 bits.")
    if high == 1 or (white == 65535 and 0 < high <= 255):
        raise InputError(
            f"{name} has {8 if white == 255 else 16} bits, but its largest value is {high} of "
            f"{white}; multiply it by {white // (1 if high == 1 else 255)}."
        )
    return values / float(white)


def _content_and_name(
    source: Path | str | bytes, name: str | None, otherwise: str
) -> tuple[bytes, str]:
    """Content of a file, a pipe or bytes, and what messages call it.

    Raises
    ------
    InputError
        If the file is missing or, as `TooLargeError`, larger than `LARGEST_FILE`.
    """
    if isinstance(source, bytes):
        content, name = source, name or otherwise
    else:
        path = Path(source)
        if not is_stream(path):
            require_file(path)
        content, name = read_stream(path), name or str(path)  # at most a byte more than may be
    if len(content) > LARGEST_FILE:
        raise TooLargeError(
            f"{name} is larger than {LARGEST_FILE >> 20} MiB; make it smaller first."
        )
    return content, name


def _stores_sixteen_bit_colors(image: Image.Image, content: bytes) -> bool:
    """Whether OpenCV reads the 16 bits of an image that Pillow reduces to 8.

    It gets color keys, CMYK and premultiplied colors wrong.
    """
    if image.format == "PNG":
        return content[24] == 16 and "transparency" not in image.info
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        return (
            set(tags.get(Tag.BitsPerSample, ())) == {16}
            and set(tags.get(Tag.SampleFormat, (1,))) == {1}
            and tags.get(Tag.PhotometricInterpretation) in (0, 1, 2)
            and set(tags.get(Tag.ExtraSamples, ())) <= {TIFF_UNASSOCIATED_ALPHA}
        )
    return False


def _sixteen_bit_bgr(content: bytes, name: str) -> np.ndarray:
    """Pixels of a 16-bit PNG or TIFF, over white, as they are stored."""
    pixels = _sixteen_bit_pixels(content, name)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if pixels.shape[2] == 3:
        return pixels
    opaque = np.empty((*pixels.shape[:2], 3), np.uint16)
    for first in range(0, len(pixels), BLOCK_ROWS):
        rows = pixels[first : first + BLOCK_ROWS].astype(np.float32)
        share = rows[:, :, 3:] / 65535
        opaque[first : first + BLOCK_ROWS] = rows[:, :, :3] * share + 65535 * (1 - share) + 0.5
    return opaque


def _sixteen_bit_pixels(content: bytes, name: str) -> np.ndarray:
    """(H, W[, 3 or 4]) gray, BGR or BGRA uint16 pixels of a PNG or TIFF."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise InputError(f"{name} is not a readable 16-bit image; save it again as PNG.")
    return pixels


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(Tag.Orientation, 1)
    except Exception:  # damaged EXIF fails in many ways and is not worth the photo
        return 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels turned upright."""
    turns, mirrored = TURNS.get(orientation, (0, False))
    pixels = np.rot90(pixels, turns)
    return np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels)


def profile_fault(icc: bytes) -> str | None:
    """What keeps a color profile from being written with RGB pixels.

    Writers and readers differ in how strict they are.  These are the rules of libpng,
    the strictest, which writes no picture at all where they are broken; and
    LittleCMS has to be able to convert colors by the profile.

    Parameters
    ----------
    icc : bytes

    Returns
    -------
    str or None
        Half a sentence; None if there is nothing.
    """
    length = len(icc)
    if length < ICC_HEADER + 4 or icc[36:40] != b"acsp":
        return "it is cut off or no ICC profile"
    said, count = (struct.unpack_from(">I", icc, at)[0] for at in (0, ICC_HEADER))
    if said != length:
        return f"it has {length} bytes and says that it has {said}"
    if icc[8] >= 4 and length % 4:
        return f"its {length} bytes are no multiple of 4"
    if icc[16:20] != b"RGB ":
        return f"it is for {ICC_COLOR_SPACES.get(icc[16:20], 'other')} pixels, not for RGB"
    if icc[12:16] not in ICC_IMAGE_CLASSES or icc[20:24] not in ICC_CONNECTION_SPACES:
        return "it is of a kind that does not describe images"
    if icc[64:66] == b"\xff\xff":
        return "its rendering intent does not exist"
    if ICC_HEADER + 4 + ICC_TAG * count > length:
        return f"its {count} entries do not fit into it"
    for at in range(ICC_HEADER + 4, ICC_HEADER + 4 + ICC_TAG * count, ICC_TAG):
        start, size = struct.unpack_from(">II", icc, at + 4)
        if start + size > length:
            return "one of its entries lies outside of it"
    try:
        ImageCms.buildTransform(_profile(icc), _profile(None), "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "no colors can be converted by it"
    return None


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image | None:
    """Convert CMYK and gray by their profile, which cannot describe RGB pixels.

    Returns
    -------
    PIL image or None
        None if the profile is damaged or of other images.
    """
    try:
        return ImageCms.profileToProfile(image, _profile(icc), _profile(None), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _profile(icc: bytes | None) -> ImageCms.ImageCmsProfile:
    """A profile for LittleCMS; None is sRGB."""
    return ImageCms.ImageCmsProfile(io.BytesIO(icc) if icc else ImageCms.createProfile("sRGB"))


def in_color_space(picture: Picture, icc: bytes | None) -> np.ndarray:
    """Colors of a picture in the space of another profile.

    Parameters
    ----------
    picture : Picture
    icc : bytes or None
        None is sRGB.

    Returns
    -------
    (H, W, 3) uint8 or uint16 ndarray
        BGR; with 8 bits where a conversion was needed.
    """
    if picture.icc == icc:
        return picture.bgr
    try:
        source, target = map(_profile, (picture.icc, icc))
        rgb = Image.fromarray(cv2.cvtColor(eight_bits(picture.bgr), cv2.COLOR_BGR2RGB))
        converted = ImageCms.profileToProfile(rgb, source, target)
    except (ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile
        return picture.bgr
    return cv2.cvtColor(np.asarray(converted), cv2.COLOR_RGB2BGR)


def _exif(image: Image.Image) -> bytes | None:
    """What EXIF says of the photo itself, in TIFF structure."""
    try:
        found, kept = image.getexif(), Image.Exif()
        for tag in KEPT_TAGS:
            if tag in found:
                kept[tag] = found[tag]
        for directory in KEPT_DIRECTORIES:
            entries = dict(found.get_ifd(directory))
            entries.pop(ExifTags.IFD.Interop, None)  # an offset into the old file
            if entries:
                kept.get_ifd(directory).update(entries)
        details = kept.get_ifd(ExifTags.IFD.Exif)
        if Tag.ExifImageWidth in details:
            details[Tag.ExifImageWidth], details[Tag.ExifImageHeight] = image.size
        content = kept.tobytes().removeprefix(EXIF_HEADER)
        return content if len(kept) or any(map(kept.get_ifd, KEPT_DIRECTORIES)) else None
    except Exception:  # damaged EXIF fails in many ways and is not worth the photo
        return None


def _xmp(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Round 16-bit pixels to 8 bits; 8-bit pixels stay."""
    if pixels.dtype == np.uint8:
        return pixels
    return cv2.convertScaleAbs(pixels, alpha=1 / 257)


def sixteen_bits(pixels: np.ndarray) -> np.ndarray:
    """Spread 8-bit pixels over 16 bits; 16-bit pixels stay."""
    if pixels.dtype == np.uint16:
        return pixels
    return pixels.astype(np.uint16) * np.uint16(257)


def encode_picture(pixels: np.ndarray, suffix: str, source: Picture | None = None) -> bytes:
    """Compress an image in memory, with the profile and metadata of its photo.

    Parameters
    ----------
    pixels : (H, W), (H, W, 3) or (H, W, 4) uint8 or uint16 ndarray
        Gray, BGR or BGRA, not premultiplied.
    suffix : str
        ``".png"`` (depth of the pixels), ``".tif"`` / ``".tiff"`` (16 bits),
        ``".webp"`` (8 bits, quality 95, exact transparency) or
        ``".jpg"`` / ``".jpeg"`` (8 bits, quality 95, 4:4:4).
    source : Picture, optional
        Gray images do not get its profile, which is for colors.

    Raises
    ------
    InputError
        If the suffix is another one, or the format does not hold such an image.
    """
    source = source or Picture(pixels)
    if pixels.ndim == 2:
        source = replace(source, icc=None)
    kind = suffix.lower()
    if kind in (".tif", ".tiff"):
        return _encode_tiff(sixteen_bits(pixels), source)
    if kind == ".png":
        return _encode_png(pixels, source)
    if kind not in (".webp", ".jpg", ".jpeg"):
        raise InputError(f"Pictures are written as png, webp, tiff or jpg, not as '{suffix}'.")
    transparent = pixels.ndim == 3 and pixels.shape[2] == 4
    if kind != ".webp" and transparent:
        raise InputError("JPEG holds no transparency; choose png, webp or tiff for cut-outs.")
    return _encode_eight_bits(eight_bits(pixels), "WEBP" if kind == ".webp" else "JPEG", source)


def _encode_png(pixels: np.ndarray, source: Picture) -> bytes:
    icc = source.icc
    if icc and len(icc) > MAX_TEXT_CHUNK:
        logger.warning(
            "A color profile of %d bytes is more than readers of PNG take; "
            "the picture is written without it.",
            len(icc),
        )
        icc = None
    extras = (
        (cv2.IMAGE_METADATA_EXIF, source.exif),
        (cv2.IMAGE_METADATA_XMP, source.xmp),
        (cv2.IMAGE_METADATA_ICCP, icc),
    )
    return compressed(pixels, ".png", metadata=[(key, value) for key, value in extras if value])


def _encode_eight_bits(pixels: np.ndarray, kind: str, source: Picture) -> bytes:
    """WebP or JPEG, by Pillow, since OpenCV's JPEG writer passes over XMP."""
    if pixels.ndim == 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    exif = source.exif and EXIF_HEADER + source.exif
    xmp = source.xmp
    if kind == "JPEG":
        options = {"quality": JPEG_QUALITY, "subsampling": 0}
        exif, xmp = (part if part and len(part) < JPEG_SEGMENT else None for part in (exif, xmp))
    else:
        options = {"quality": WEBP_QUALITY}
    extras = {"icc_profile": source.icc, "exif": exif, "xmp": xmp}
    extras = {key: content for key, content in extras.items() if content}
    stream = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(stream, kind, **options, **extras)
    except (OSError, ValueError) as error:  # WebP: 16383 pixels a side, JPEG: 65535
        raise InputError(
            f"{kind} does not hold a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels "
            f"({error}); choose png or tiff."
        ) from None
    return stream.getvalue()


def _encode_tiff(pixels: np.ndarray, source: Picture) -> bytes:
    """TIFF of 16 bits, deflated, with EXIF: no library here writes all three."""
    channels = pixels.reshape(*pixels.shape[:2], -1)
    height, width, count = channels.shape
    if count > 1:
        channels = channels[:, :, [2, 1, 0, 3][:count]]
    steps = channels.astype("<u2")
    steps[:, 1:] = channels[:, 1:] - channels[:, :-1]  # modulo 2^16, as the predictor wants
    strips = [
        zlib.compress(steps[first : first + TIFF_STRIP_ROWS].tobytes(), TIFF_COMPRESSION_LEVEL)
        for first in range(0, height, TIFF_STRIP_ROWS)
    ]
    lengths = [len(strip) for strip in strips]
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    described = Image.Exif()
    described.load(source.exif or b"")
    directory = ImageFileDirectory_v2()
    directory.update(described)
    for found in KEPT_DIRECTORIES:
        if entries := described.get_ifd(found):
            directory[found] = dict(entries)
    directory.update(
        {
            Tag.ImageWidth: width,
            Tag.ImageLength: height,
            Tag.BitsPerSample: (16,) * count,
            Tag.Compression: TIFF_DEFLATE,
            Tag.PhotometricInterpretation: 1 if count == 1 else 2,
            Tag.StripOffsets: tuple(map(int, starts)),  # counted from the directory's end
            Tag.SamplesPerPixel: count,
            Tag.RowsPerStrip: TIFF_STRIP_ROWS,
            Tag.StripByteCounts: tuple(lengths),
            Tag.PlanarConfiguration: 1,
            Tag.Predictor: TIFF_HORIZONTAL_PREDICTOR,
        }
    )
    if count == 4:
        directory[Tag.ExtraSamples] = TIFF_UNASSOCIATED_ALPHA
    if source.icc:
        directory[Tag.InterColorProfile] = source.icc
    if source.xmp:
        directory[XMP_TAG] = source.xmp
    stream = io.BytesIO()
    directory.save(stream)
    stream.writelines(strips)
    return stream.getvalue()


def write_picture(path: Path | str, pixels: np.ndarray, source: Picture | None = None) -> None:
    """Write an image atomically, in the format of the suffix.

    Raises
    ------
    InputError
        As `encode_picture` and `atomic_write`.
    """
    path = Path(path)
    content = encode_picture(pixels, path.suffix, source)
    with atomic_write(path) as scratch:
        scratch.write_bytes(content)
