"""Trimaps and masks from outside, in the model's place: what their values mean.

Segmenters, editors and data sets store them in many ways: as 0 and 1, with 16 bits, as
floating-point values, as labels of a palette, in the alpha channel.  What names itself
beyond doubt is read, and `Guidance.assumed` says how.  What does not, and what would give
an empty or a full matte, is refused in a sentence that names the values found.

Nothing here loads Caffe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data_prep.common.errors import InputError
from data_prep.common.images import LARGEST_IMAGE, open_image, upright
from data_prep.common.pictures import eight_bits

TRIMAP, MASK = "trimap", "mask"  # the kinds of guidance
ALPHA = "alpha"  # a matte from outside guides nothing: it is kept as it is
REMEDIES = {
    TRIMAP: "save it with white (255) for what is surely the person, black (0) for the "
    "background and gray (128) for the rest",
    MASK: "save it with white (255) for the person and black (0) for the background",
}

# Grays of a trimap that editors' compression leaves of white and black.
KNOWN_WHITE, KNOWN_BLACK = 250, 5

# A mask whose white is darker, or whose black is brighter, gives an empty or a full matte:
# at 225 and 30 foreground and background have a ten-thousandth (`tools.matting.band.mask_logit`),
# which still holds the matte; at 210 and 40 they no longer do.  A trimap with one level each
# of black, gray and white may have these levels too (video: 16 and 235).
NEARLY_WHITE, NEARLY_BLACK = 225, 30
GRAYS = range(64, 192)
# Labels 0, 1, 2 are background, unknown, foreground only where 1 lies between the others:
# then at most this share of their borders is one between 0 and 2.
DIRECT_BORDER = 0.1

# A drawing's grays lie around one level (unknown) or at borders; those of a photo or of
# noise fill most of the picture, and less than half of them lie near their median.
MOST_GRAY, NEAR_MEDIAN = 0.5, 16

# Log ratio of the aspects of guidance and photo, from rounding a reduced size.
LARGEST_ASPECT_ERROR = 0.03
# Largest difference between the color channels of a gray picture, from lossy compression.
LARGEST_TINT = 4
MOST_NAMED = 4  # values or colors in a message


@dataclass(frozen=True)
class Guidance:
    """A trimap or mask, or the values that are to become one.

    Attributes
    ----------
    values : (H, W) uint8, uint16 or float ndarray
    assumed : str
        How values were read that are not those a trimap or mask should have: a
        sentence, or nothing.
    """

    values: np.ndarray
    assumed: str = ""


def read_guidance(
    kind: str,
    source: Path | bytes,
    name: Path | str,
    largest: int = LARGEST_IMAGE,
) -> Guidance:
    """Read the one channel of an image that holds a trimap or mask, as it is stored.

    Parameters
    ----------
    kind : {"trimap", "mask"}
    source : Path or bytes
        A file or its content.
    name : Path or str
        What messages call it.
    largest : int
        Pixels in all.

    Returns
    -------
    Guidance
        Upright; not yet checked by `check_shape` and `levels_of`.

    Raises
    ------
    InputError
        As `data_prep.common.images.open_image`, and if colors or transparency leave open which
        channel is meant.
    """
    is_labeled = False
    with open_image(source, name, largest) as image:
        image = upright(image)
        if image.mode in ("L", "1") and not image.has_transparency_data:
            return Guidance(np.array(image.convert("L")))
        if image.mode in ("F", "I") or image.mode.startswith("I;16"):
            values = np.array(image)
        elif image.mode == "P" and _is_labeled(image):
            is_labeled, values = True, np.array(image)
        else:
            values = np.array(image.convert("RGBA"))
    if is_labeled and values.max() > 2:  # 1 of a mask, 2 of a trimap name themselves
        raise InputError(f"{name} holds the labels {_named(values)}; {REMEDIES[kind]}.")
    if values.ndim == 2:
        return Guidance(_narrowed(kind, values, name))
    return _one_channel(kind, values, name)


def check_shape(
    guidance: Guidance, name: Path | str, shape: tuple[int, ...], photo: Path | str
) -> None:
    """Refuse guidance of another shape than the photo's; a reduced size is accepted.

    Parameters
    ----------
    guidance : Guidance
    name : Path or str
        What messages call it.
    shape : (H, W, ...)
        The upright photo's.
    photo : Path or str
        What messages call that.

    Raises
    ------
    InputError
    """
    (height, width), (rows, columns) = guidance.values.shape, shape[:2]

    def differs(rows: int, columns: int) -> bool:
        return abs(np.log(width * rows / (height * columns))) > LARGEST_ASPECT_ERROR

    if differs(rows, columns):
        remedy = "give one of the same shape" if differs(columns, rows) else "turn it by 90 degrees"
        raise InputError(
            f"{name} is {width}x{height}, and {photo} is {columns}x{rows} (upright); {remedy}."
        )


def check_same_size(
    matte: np.ndarray, name: Path | str, shape: tuple[int, ...], photo: Path | str
) -> None:
    """Refuse a matte from outside, which is not resampled, of another size than the photo's.

    Parameters
    ----------
    matte : (h, w) ndarray
    name, shape, photo
        See `check_shape`.

    Raises
    ------
    InputError
    """
    if matte.shape != shape[:2]:
        (height, width), (rows, columns) = matte.shape, shape[:2]
        raise InputError(
            f"{name} is {width}x{height}, and {photo} is {columns}x{rows} (upright); a matte is "
            "kept as it is, so give one of the photo's size, or give it as a mask."
        )


def levels_of(kind: str, guidance: Guidance, name: Path | str) -> Guidance:
    """What the values of a trimap or mask mean, after checks.

    Parameters
    ----------
    kind : {"trimap", "mask"}
    guidance : Guidance
        As `read_guidance` reads it, or with any uint8, uint16 or float values.
    name : Path or str
        What messages call it.

    Returns
    -------
    Guidance
        With values that `MattingSession.matte` takes: uint8, or a mask's floats from 0
        to 1.  Values that need no interpretation are those given.

    Raises
    ------
    InputError
        If the values have no clear meaning, there is no foreground or no background, or
        the picture is a photo or noise.
    """
    read = _mask_levels if kind == MASK else _trimap_levels
    found = read(guidance.values, name)
    if _is_no_drawing(found.values):
        raise InputError(
            f"{name} is no {kind}: most of its pixels are neither black nor white nor one "
            f"gray, as in a photo or noise; {REMEDIES[kind]}."
        )
    return Guidance(found.values, " ".join(filter(None, (guidance.assumed, found.assumed))))


def _mask_levels(values: np.ndarray, name: Path | str) -> Guidance:
    white = _white(values)
    if white is None:
        raise InputError(f"{name} holds {_named(values)}; {REMEDIES[MASK]}.")
    low, high = values.min(), values.max()
    missing = []
    if high < NEARLY_WHITE / 255 * white:
        missing.append("foreground")
    if low > NEARLY_BLACK / 255 * white:
        missing.append("background")
    if missing:
        raise InputError(
            f"{name} has no {' and no '.join(missing)}: it holds {_named(values)}; "
            f"{REMEDIES[MASK]}."
        )
    assumed = f"{name} holds {_named(values)}: {white} is taken for white."
    if values.dtype.kind == "f":
        return Guidance(values) if white == 1 else Guidance(values / white, assumed)
    if white == 65535 or (white == 255 and values.dtype == np.uint8):
        return Guidance(eight_bits(values))
    return Guidance((values * (255 // white)).astype(np.uint8), assumed)


def _white(values: np.ndarray) -> int | None:
    """The value that stands for white in a mask, if it is beyond doubt."""
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        # Written this way round: NaN is in doubt.
        return (1 if high <= 1 else 255 if high == 255 else None) if low >= 0 else None
    if high in (1, 255):
        return int(high)
    return int(np.iinfo(values.dtype).max)


def _trimap_levels(values: np.ndarray, name: Path | str) -> Guidance:
    high = values.max()
    assumed = ""
    if values.dtype == np.uint16 and high in (2, 255):  # not levels of 16 bits: all is black
        levels = values.astype(np.uint8)
        if high == 255:
            assumed = f"{name} holds {_named(values)}: 255 is taken for white."
    elif values.dtype == np.uint16:
        levels = eight_bits(values)
    elif values.dtype.kind == "f":
        if not (values.min() >= 0 and (high <= 1 or high == 255)):
            raise InputError(f"{name} holds {_named(values)}; {REMEDIES[TRIMAP]}.")
        levels = np.rint(values * (255 if high <= 1 else 1)).astype(np.uint8)
    else:
        levels = values
    found = np.flatnonzero(_histogram(levels)).tolist()
    if len(found) == 3 and (found[0] > KNOWN_BLACK or found[2] < KNOWN_WHITE):
        table = np.zeros(256, np.uint8)
        table[found] = 0, 128, 255
        meant = found[0] <= NEARLY_BLACK and found[1] in GRAYS and found[2] >= NEARLY_WHITE
        if meant or (found == [0, 1, 2] and _lies_between(levels, found)):
            return Guidance(
                cv2.LUT(levels, table),
                f"{name} holds {_named(levels)}: they are taken for background, unknown and "
                "foreground.",
            )
    _check_known(levels, values, name)
    if not any(KNOWN_BLACK < level < KNOWN_WHITE for level in found):
        return Guidance(
            levels,
            f"{name} holds {_named(values)} and leaves nothing unknown; "
            "give it as a mask to have its border refined.",
        )
    return Guidance(levels, assumed)


def _check_known(levels: np.ndarray, values: np.ndarray, name: Path | str) -> None:
    """Refuse a trimap without foreground or background, or with nearly all of it missed."""
    counts = _histogram(levels)
    missing = []
    if not counts[KNOWN_WHITE:].any():
        missing.append("foreground")
    if not counts[: KNOWN_BLACK + 1].any():
        missing.append("background")
    if missing:
        raise InputError(
            f"{name} has no {' and no '.join(missing)}: it holds {_named(values)}; "
            f"{REMEDIES[TRIMAP]}."
        )
    missed = (
        counts[KNOWN_BLACK + 1 : NEARLY_BLACK + 1].sum() + counts[NEARLY_WHITE:KNOWN_WHITE].sum()
    )
    if missed > counts.sum() / 2:
        raise InputError(
            f"{name} is unknown nearly everywhere: most of its pixels are only nearly black "
            f"or white (not at most {KNOWN_BLACK} or at least {KNOWN_WHITE}); "
            f"{REMEDIES[TRIMAP]}."
        )


def covers_border(person: np.ndarray) -> bool:
    """Whether most of a picture's border is person, as where it is inverted.

    Parameters
    ----------
    person : (H, W) ndarray
        Positive where a person is.
    """
    edges = (person[0], person[-1], person[1:-1, 0], person[1:-1, -1])
    return bool(np.mean(np.concatenate(edges) > 0) > 0.5)


def _is_labeled(image: Image.Image) -> bool:
    """Whether a palette's indices are labels, with black as the color of label 0.

    Segmentation data sets store masks this way (Pascal VOC).  Where all colors are gray,
    they are the values.
    """
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    used = np.flatnonzero(image.histogram()[: len(palette)])
    has_colors = np.ptp(palette[used], axis=1).any()
    return has_colors and not palette[0].any() and not image.has_transparency_data


def _narrowed(kind: str, values: np.ndarray, name: Path | str) -> np.ndarray:
    """Values as uint8, uint16 or float32; refuses integers of more than 16 bits."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(
            f"{name} holds {_named(values)}, which are no levels of 16 bits; {REMEDIES[kind]}."
        )
    return values.astype(np.uint16)


def _one_channel(kind: str, rgba: np.ndarray, name: Path | str) -> Guidance:
    """The channel that holds the guidance, of (H, W, 4) RGBA."""
    colors, opacity = rgba[:, :, :3], rgba[:, :, 3]
    gray = np.ascontiguousarray(colors[:, :, 0])
    if opacity.min() == opacity.max():
        if (colors == gray[:, :, None]).all():
            return Guidance(gray)
        if np.ptp(colors, axis=2).max() <= LARGEST_TINT:
            return Guidance(cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY))
        return _painted_trimap(kind, colors, name)
    if (gray == opacity).all():
        return Guidance(gray)
    shown = colors[opacity > 0]  # transparent pixels may have any color
    is_plain, is_gray = (shown == shown[0]).all(), (shown == shown[:, :1]).all()
    if is_plain or not is_gray:  # one color, or a cut-out
        return Guidance(
            np.ascontiguousarray(opacity), f"{name}: its transparency is taken for the {kind}."
        )
    raise InputError(f"{name} has both grays and transparency; {REMEDIES[kind]}.")


def _painted_trimap(kind: str, colors: np.ndarray, name: Path | str) -> Guidance:
    """A trimap in black, white and one color for unknown; other colors are refused."""
    packed = np.dot(colors, np.array([1 << 16, 1 << 8, 1], np.int32))
    found = np.unique(packed).tolist()
    paints = [f"#{color:06x}" for color in found]
    if kind == TRIMAP and len(found) == 3 and found[0] == 0 and found[2] == 0xFFFFFF:
        levels = np.full(packed.shape, 128, np.uint8)
        levels[packed == 0], levels[packed == 0xFFFFFF] = 0, 255
        return Guidance(levels, f"{name}: its {paints[1]} is taken for unknown.")
    named = _listed(paints) if len(paints) <= MOST_NAMED else f"{len(paints)} of them"
    raise InputError(f"{name} has colors ({named}); {REMEDIES[kind]}.")


def _lies_between(levels: np.ndarray, found: list[int]) -> bool:
    """Whether the second of three levels separates the first and the last."""
    low, _, high = found
    pairs = [(levels[:, 1:], levels[:, :-1]), (levels[1:], levels[:-1])]

    def borders(one: int) -> int:
        return sum(int(np.count_nonzero((a == one) != (b == one))) for a, b in pairs)

    direct = sum(
        int(np.count_nonzero((a == low) & (b == high) | (a == high) & (b == low))) for a, b in pairs
    )
    return direct <= DIRECT_BORDER * min(borders(low), borders(high))


def _is_no_drawing(values: np.ndarray) -> bool:
    """Whether grays of all kinds fill most of the picture."""
    levels = values if values.dtype == np.uint8 else np.rint(255 * values).astype(np.uint8)
    counts = _histogram(levels)
    grays = counts.copy()
    grays[: NEARLY_BLACK + 1] = grays[NEARLY_WHITE:] = 0
    if grays.sum() <= MOST_GRAY * counts.sum():
        return False
    median = int(np.searchsorted(grays.cumsum(), grays.sum() / 2))
    near = grays[max(0, median - NEAR_MEDIAN) : median + NEAR_MEDIAN + 1].sum()
    return bool(near < grays.sum() / 2)


def _histogram(values: np.ndarray) -> np.ndarray:
    """How often each value of a uint8 or uint16 array is there."""
    most = int(np.iinfo(values.dtype).max) + 1
    counts = cv2.calcHist([np.ascontiguousarray(values)], [0], None, [most], [0, most])
    return counts[:, 0].astype(np.int64)


def _named(values: np.ndarray) -> str:
    """The values found, for a message: each of few, the range of many."""
    low, high = values.min(), values.max()
    if np.isnan(low) or np.isinf(high):
        return "values that are no numbers"
    if low == high:
        return f"{low:g} only"
    if values.dtype.kind == "u":
        found = np.flatnonzero(_histogram(values)).tolist()
        if len(found) <= MOST_NAMED:
            return _listed([str(value) for value in found])
    return f"values from {low:g} to {high:g}"


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
