"""Reading any ordinary photo, reading mattes, writing files atomically."""

from __future__ import annotations

import io
import logging
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from data_prep.common.errors import InputError, TooLargeError
from data_prep.common.files import atomic_write, require_file

logger = logging.getLogger(__name__)

SMALLEST_SIDE = 3  # one 3x3 window of the matting Laplacian
LARGEST_IMAGE = 178_000_000  # pixels
LARGEST_FILE = 1 << 29  # bytes; the largest photo with 16 bits, not compressed

# Pillow knows more, some of which run other programs (EPS) or accept nearly
# any bytes (TGA).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM", "JPEG2000")
#: How the names of files in `FORMATS`, or of photos of telephones, end.
IMAGE_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".avif",
        ".gif",
        ".bmp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".jpx",
        ".jpf",
        ".j2c",
        ".jpc",
        ".heic",
        ".heif",
        ".hif",
    )
)
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# MPO and TIFF also have several images, but one of them is the photo.
ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_PLANAR = 258, 262, 284  # tags
TIFF_WHITE_IS_ZERO = 0

# What Pillow raises on files that are damaged in one way or another.
DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error)

# 4:4:4: the matting Laplacian reads color lines, which chroma subsampling smears.
JPEG_QUALITY = 95
JPEG_OPTIONS = (
    cv2.IMWRITE_JPEG_QUALITY,
    JPEG_QUALITY,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)


def _formats(head: bytes, name: Path | str) -> tuple[str, ...]:
    """Pillow formats to try; HEIC, the photos of telephones, takes a decoder of its own."""
    if head[4:8] != b"ftyp" or head[8:12] not in HEIC_BRANDS:
        return FORMATS
    try:
        import pi_heif
    except ImportError:  # no wheel for every platform
        raise InputError(
            f"{name} is HEIC, which takes a decoder that is not installed; "
            "run `pip install pi-heif` or save the photo as JPEG."
        ) from None
    pi_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def is_stream(path: Path) -> bool:
    """Whether a path is to be read from its start to its end once: a pipe or a device."""
    return path.exists() and not path.is_file() and not path.is_dir()


def read_stream(path: Path) -> bytes:
    """Content of a pipe or device, up to one byte more than `LARGEST_FILE`."""
    with open(path, "rb") as stream:
        return stream.read(LARGEST_FILE + 1)


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write over what a program reads, under whatever name or link.

    Raises
    ------
    InputError
        If an output is the same file as an input.
    """
    read = {identity_of(path): path for path in inputs if path.exists()}
    for path in outputs:
        original = read.get(identity_of(path)) if path.exists() else None
        if original is not None:
            same = "" if path == original else f" is the same file as {original}, which"
            raise InputError(
                f"{path}{same} is read and would be replaced; choose another name for the output."
            )


def identity_of(path: Path) -> tuple[int, int]:
    """What a file has in common with all links to it."""
    found = path.stat()
    return found.st_dev, found.st_ino


@contextmanager
def open_image(
    source: Path | bytes,
    name: Path | str | None = None,
    largest: int = LARGEST_IMAGE,
    smallest: int = SMALLEST_SIDE,
) -> Iterator[Image.Image]:
    """Open with Pillow; whatever the decoder raises becomes an `InputError`.

    The image is decoded and not yet turned upright (`upright`).

    Parameters
    ----------
    source : Path or bytes
        A file or its content.
    name : Path or str, optional
        What messages call it; the path by default.
    largest : int
        Pixels in all; more are refused before anything is decoded.
    smallest : int
        Pixels of the shorter side.

    Raises
    ------
    InputError
        If the file is missing, no image of a kind in `FORMATS`, corrupt,
        truncated, an animation, a TIFF with planes of 16 bits, or too small; as
        `TooLargeError` if it has too many pixels.
    """
    if name is None:
        name = source if isinstance(source, Path) else "the image"
    if isinstance(source, Path):
        require_file(source, name)
    try:
        with warnings.catch_warnings():
            # Pillow warns of what the checks here refuse or what does no harm.
            warnings.simplefilter("ignore")
            stream = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
            with stream, Image.open(stream, formats=_formats(stream.read(12), name)) as image:
                _check_size(image, name, largest, smallest)
                if image.format in ANIMATED_FORMATS and getattr(image, "is_animated", False):
                    raise InputError(
                        f"{name} is an animation; save one of its frames as PNG and give that."
                    )
                if isinstance(image, TiffImageFile) and image.is_animated:
                    logger.warning("%s has several pages; the first one is read.", name)
                if _has_deep_planes(image):
                    raise InputError(
                        f"{name} stores its 16-bit colors in separate planes; "
                        "save it with interleaved colors."
                    )
                image.load()
                if stores_white_as_zero(image):
                    image.paste(Image.fromarray(65535 - np.asarray(image)))
                yield image
    except Image.DecompressionBombError:
        raise TooLargeError(
            f"{name} has more than {largest / 1e6:.0f} megapixels; make it smaller first."
        ) from None
    except UnidentifiedImageError:
        raise InputError(
            f"{name} is not a readable image: its content is damaged or of no known "
            "kind; save it again as JPEG or PNG."
        ) from None
    except InputError:  # a ValueError, too, but it says already what is wrong
        raise
    except DECODER_ERRORS as error:
        reason = " ".join(str(error).split())  # some come on several lines
        raise InputError(
            f"{name} is not a readable image ({reason}); save it again as JPEG or PNG."
        ) from error


def _has_deep_planes(image: Image.Image) -> bool:
    """Whether a TIFF is of the one kind that Pillow decodes into noise."""
    if not isinstance(image, TiffImageFile):
        return False
    bits, planar = (image.tag_v2.get(tag) for tag in (TIFF_BITS, TIFF_PLANAR))
    return planar == 2 and bits is not None and len(bits) > 1 and max(bits) > 8


def stores_white_as_zero(image: Image.Image) -> bool:
    """Whether a TIFF is of the 16-bit kind that no decoder turns light where it is light."""
    return (
        isinstance(image, TiffImageFile)
        and image.mode.startswith("I;16")
        and image.tag_v2.get(TIFF_PHOTOMETRIC) == TIFF_WHITE_IS_ZERO
    )


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says, in place; damaged EXIF is ignored."""
    with suppress(Exception):  # it fails in many ways and is not worth the photo
        ImageOps.exif_transpose(image, in_place=True)
    return image


def over_white(image: Image.Image) -> Image.Image:
    """Lay what is transparent over white, as picture viewers show it."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    ground = Image.new("RGB", layer.size, "white")
    ground.paste(layer, mask=layer)
    return ground


def to_eight_bits(image: Image.Image, path: Path | str) -> Image.Image:
    """Scale 16-bit gray (Pillow modes I;16 and I) to 8 bits; refuse floats."""
    if image.mode == "F":
        lowest, highest = image.getextrema()
        raise InputError(
            f"{path} holds floating-point values ({lowest:.3g} to {highest:.3g}); "
            "save it with 8 or 16 bits."
        )
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{path} has more than 16 bits; save it with 8 or 16 bits.")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _check_size(image: Image.Image, path: Path | str, largest: int, smallest: int) -> None:
    width, height = image.size
    if min(image.size) < smallest:
        raise InputError(
            f"{path} is {width}x{height} pixels; it takes at least {smallest}x{smallest}."
        )
    if width * height > largest:
        raise TooLargeError(
            f"{path} has more than {largest / 1e6:.0f} megapixels ({width}x{height}); "
            "make it smaller first."
        )


def read_photo(path: Path | str) -> np.ndarray:
    """Read a photo of any common kind.

    Gray, palette, CMYK and 16-bit photos are converted (CMYK without its color
    profile, which `data_prep.common.pictures.read_picture` minds); transparent parts are
    laid over white, as picture viewers show them; the EXIF orientation is applied.

    Returns
    -------
    (H, W, 3) uint8 ndarray
        BGR, 0 to 255.

    Raises
    ------
    InputError
        As `open_image`, and if it holds floating-point values.
    """
    path = Path(path)
    with open_image(path) as image:
        image = over_white(to_eight_bits(upright(image), path))
        rgb = np.asarray(image.convert("RGB"))
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def read_matte(source: Path | str | bytes, name: str | None = None) -> np.ndarray:
    """Read an alpha matte: a gray image, 0 background to 255 foreground.

    Three equal color channels and an opaque alpha channel are accepted, since
    editors add them; anything else is refused rather than guessed at.  Whether the
    values are those of a portrait's matte, `data_prep.datasets.matte_checks` says.

    Parameters
    ----------
    source : Path, str or bytes
        A file or, as bytes, its content.
    name : str, optional
        What messages call it; the path by default.

    Returns
    -------
    (H, W) uint8 ndarray

    Raises
    ------
    InputError
        As `read_photo`, and if the image has colors or transparency, or 16 bits of
        which it uses the lower 8.
    """
    if isinstance(source, str):
        source = Path(source)
    if name is None:
        name = "The matte" if isinstance(source, bytes) else str(source)
    with open_image(source, name) as image:
        _check_depth(image, name)
        image = to_eight_bits(upright(image), name)
        if image.mode == "L" and not image.has_transparency_data:
            return np.array(image)
        channels = np.asarray(image.convert("RGBA"))
    gray = channels[:, :, 0]
    colored = bool(np.any(channels[:, :, 1:3] != gray[:, :, None]))
    if np.any(channels[:, :, 3] < 255):
        what = "colors and transparency, as cut-outs have" if colored else "transparency"
        raise InputError(f"{name} has {what}; save its alpha channel alone, as a gray PNG.")
    if colored:
        value = channels[:, :, :3][np.any(channels[:, :, 1:3] != gray[:, :, None], axis=2)][0]
        raise InputError(
            f"{name} has colors, such as {value[0]}, {value[1]}, {value[2]} (RGB); "
            "save the matte as a gray PNG."
        )
    return np.ascontiguousarray(gray)


def _check_depth(image: Image.Image, name: str) -> None:
    """Refuse a matte of 8 bits that is stored with 16, which would be all background."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        highest = int(np.asarray(image).max())
        if 0 < highest <= 255:
            factor = 65535 if highest == 1 else 257
            raise InputError(
                f"{name} has 16 bits, but its largest value is {highest} of 65535; "
                f"multiply it by {factor}, or save it with 8 bits."
            )


def read_alpha_channel(path: Path | str) -> np.ndarray:
    """Read the matte that a cut-out carries as its transparency.

    Returns
    -------
    (H, W) uint8 ndarray
        0 transparent (background) to 255 opaque (foreground).

    Raises
    ------
    InputError
        As `read_photo`, and if the image has no transparency.
    """
    path = Path(path)
    with open_image(path) as image:
        image = upright(image)
        if not image.has_transparency_data:
            raise InputError(f"{path} has no transparency; its matte is the alpha channel.")
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return np.ascontiguousarray(alpha)


def compressed(
    array: np.ndarray,
    suffix: str,
    options: Sequence[int] = (),
    metadata: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """Compress an image with OpenCV, which says by its result alone that it failed.

    Parameters
    ----------
    array : (H, W), (H, W, 3) or (H, W, 4) uint8 or uint16 ndarray
        Gray, BGR or BGRA.
    suffix : str
        As OpenCV knows it, such as ``".png"``.
    options : sequence of int
        ``cv2.IMWRITE_...`` flags, each followed by its value.
    metadata : sequence of (int, bytes)
        ``cv2.IMAGE_METADATA_...`` kinds and their contents.

    Raises
    ------
    InputError
        If the format does not hold such an image.
    """
    if metadata:
        kinds = [kind for kind, _ in metadata]
        contents = [np.frombuffer(content, np.uint8) for _, content in metadata]
        done, content = cv2.imencodeWithMetadata(suffix, array, kinds, contents, options)
    else:  # the studio's OpenCV is older and knows no other function
        done, content = cv2.imencode(suffix, array, options)
    if not done:
        height, width = array.shape[:2]
        raise InputError(
            f"A picture of {width}x{height} pixels could not be written as "
            f"{suffix.removeprefix('.').upper()}; choose another format or make it smaller."
        )
    return content.tobytes()


def encode_image(array: np.ndarray, suffix: str) -> bytes:
    """Compress an image in memory.

    Parameters
    ----------
    array : (H, W), (H, W, 3) or (H, W, 4) uint8 ndarray
        Gray, BGR or BGRA.
    suffix : str
        ``".png"`` (lossless) or ``".jpg"`` / ``".jpeg"`` (quality 95, 4:4:4).

    Raises
    ------
    InputError
        If the suffix is another one, JPEG is asked to hold transparency, or the
        format cannot hold that many pixels a side.
    """
    if array.dtype != np.uint8:
        raise TypeError(f"images are uint8, not {array.dtype}")
    check_written_suffix(suffix)
    if suffix.lower() == ".png":
        return compressed(array, ".png")
    if array.ndim == 3 and array.shape[2] == 4:
        raise InputError("JPEG holds no transparency; choose a name that ends in .png.")
    return compressed(array, ".jpg", JPEG_OPTIONS)


def check_written_suffix(suffix: str) -> None:
    """Refuse a suffix that `encode_image` does not know, before there is an image.

    Raises
    ------
    InputError
    """
    if suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"Images are written as .png or .jpg, not as '{suffix}'.")


def write_image(path: Path | str, array: np.ndarray) -> None:
    """Write a gray, BGR or BGRA image atomically, in the format of the suffix.

    Raises
    ------
    InputError
        As `encode_image` and `atomic_write`.
    """
    path = Path(path)
    content = encode_image(array, path.suffix)
    with atomic_write(path) as scratch:
        scratch.write_bytes(content)
