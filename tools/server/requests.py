"""What one request asks for, and how it becomes an image.

Options, in the query or as form fields, at most one of the first three:

    output      cutout (default, RGBA), alpha (the matte) or photo (as it was read)
    background  RRGGBB, a color, or `image`, the part `background`
    effect      one of `tools.outputs.effects.EFFECTS`
    match       yes: fit the person's colors to the background image
    format      png (default), webp, tiff or jpeg

Parts: photo; trimap or mask, which replace the model's; alpha, a matte that is kept as it
is; background; cutout,
this server's RGBA answer to the same photo, whose alpha and colors are then
taken as they are: trying backgrounds and effects costs no second matte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from data_prep.common.errors import InputError, TooLargeError
from data_prep.common.images import SMALLEST_SIDE, open_image
from data_prep.common.pictures import (
    SMALLEST_PHOTO,
    Picture,
    eight_bits,
    encode_picture,
    in_color_space,
    read_alpha,
    read_picture,
)
from tools.matting.guidance import (
    ALPHA,
    MASK,
    TRIMAP,
    Guidance,
    check_same_size,
    check_shape,
    levels_of,
    read_guidance,
)
from tools.outputs.effects import EFFECTS, composite, cut_out, from_float, replace_background

if TYPE_CHECKING:
    from tools.matting.session import MattingSession

PARTS = ("photo", TRIMAP, MASK, ALPHA, "cutout", "background")
OUTPUTS = ("cutout", "alpha", "photo")
FORMATS = {
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "jpeg": "image/jpeg",
}
OPTIONS = ("output", "background", "effect", "match", "format")
COLOR = re.compile(r"#?([0-9a-f]{6})", re.IGNORECASE)


class Refusal(Exception):
    """A request that is not served.

    Attributes
    ----------
    status : int
        HTTP status.
    sentence : str
        What is wrong and what helps.
    retry : int or None
        Seconds after which the same request may be served.
    """

    def __init__(self, status: int, sentence: str, retry: int | None = None) -> None:
        super().__init__(status, sentence, retry)
        self.status, self.sentence, self.retry = status, sentence, retry


@dataclass(frozen=True)
class Job:
    """A checked request.

    Attributes
    ----------
    parts : mapping of str to bytes
        Images by their names in `PARTS`, not decoded; ``"photo"`` is there.
    output : str
        One of `OUTPUTS`, ``"color"``, ``"background"`` or ``"effect"``.
    color : (blue, green, red) or None
    effect : str or None
    match : bool
        Fit the person's colors to the background.
    kind : str
        A key of `FORMATS`.
    most_pixels : int
        Limit for each image.
    """

    parts: Mapping[str, bytes]
    output: str
    color: tuple[int, int, int] | None
    effect: str | None
    match: bool
    kind: str
    most_pixels: int


@dataclass(frozen=True)
class Answer:
    """A file for the client.

    Attributes
    ----------
    content : bytes
    media_type, name : str
    assumed : str
        See `tools.matting.guidance.Guidance`.
    """

    content: bytes
    media_type: str
    name: str
    assumed: str = ""


def options() -> dict[str, object]:
    """What requests can ask for, as JSON holds it."""
    effects = [
        {"name": name, "title": effect.title, "group": effect.group}
        for name, effect in EFFECTS.items()
    ]
    return {"outputs": OUTPUTS, "formats": list(FORMATS), "effects": effects, "parts": PARTS}


def job_from(asked: Sequence[tuple[str, str]], parts: Mapping[str, bytes], most_pixels: int) -> Job:
    """Check what can be checked without decoding an image.

    Parameters
    ----------
    asked : sequence of (str, str)
        Names of `OPTIONS` and their values, from the query and from form fields.
    parts : mapping of str to bytes
        Images by their names in `PARTS`.
    most_pixels : int
        Limit for each image.

    Raises
    ------
    Refusal
        400 for an unknown, repeated or contradictory option, or a missing part.
    """
    given: dict[str, str] = {}
    for name, value in asked:
        _one_of(name, OPTIONS, "option")
        if name in given:
            raise Refusal(400, f"The option {name!r} is there twice; give it once.")
        given[name] = value
    if sum(name in given for name in ("output", "background", "effect")) > 1:
        raise Refusal(400, "Ask for one of output, background and effect at a time.")
    if sum(name in parts for name in (TRIMAP, MASK, ALPHA, "cutout")) > 1:
        raise Refusal(400, "Send one of trimap, mask, alpha and cutout at a time.")
    kind = _one_of(given.get("format", "png"), FORMATS, "format")
    output, color, effect = given.get("output", "cutout"), None, None
    if "background" in given:
        digits = COLOR.fullmatch(given["background"])
        if digits:
            output, color = "color", tuple(bytes.fromhex(digits[1]))[::-1]
        elif given["background"] != "image":
            raise Refusal(400, "A background is a color such as ff8800, or image.")
        elif "background" not in parts:
            raise Refusal(400, "The image is missing; send it as the part 'background'.")
        else:
            output = "background"
    elif "background" in parts:
        raise Refusal(400, "There is an image 'background'; ask for it by background=image.")
    elif "effect" in given:
        output, effect = "effect", _one_of(given["effect"], EFFECTS, "effect")
    else:
        _one_of(output, OUTPUTS, "output")
    if (wish := given.get("match", "no")) not in ("yes", "no"):
        raise Refusal(400, f"The option match is yes or no, not {wish[:40]!r}.")
    match = wish == "yes"
    if match and output != "background":
        raise Refusal(400, "Only background=image has colors to match.")
    if output == "cutout" and kind == "jpeg":
        raise Refusal(400, "JPEG holds no transparency; ask for png, webp or tiff.")
    return Job(parts, output, color, effect, match, kind, most_pixels)


def _one_of(name: str, names: Sequence[str] | Mapping[str, object], what: str) -> str:
    if name not in names:
        raise Refusal(400, f"There is no {what} {name[:40]!r}; it is one of {', '.join(names)}.")
    return name


def perform(job: Job, session: MattingSession) -> Answer:
    """Decode, matte, render, encode.

    Raises
    ------
    Refusal
        413 for an image with too many pixels, 415 for one that cannot be
        read, 422 for a photo with nobody in it, 400 for parts that do not fit
        the photo.
    """
    photo = _picture(job, "photo")
    try:
        guidance = {kind: _guidance(job, kind, photo) for kind in (TRIMAP, MASK, ALPHA)}
        image = photo.bgr if job.output == "photo" else _rendered(job, photo, session, guidance)
        content = encode_picture(image, f".{job.kind}", photo)
    except InputError as error:
        raise Refusal(400, str(error)) from error
    stem = job.effect or job.output
    assumed = "".join(given.assumed for given in guidance.values() if given)
    return Answer(content, FORMATS[job.kind], f"{stem}.{job.kind}", assumed)


def _rendered(
    job: Job,
    photo: Picture,
    session: MattingSession,
    guidance: Mapping[str, Guidance | None],
) -> np.ndarray:
    """(H, W[, 3 or 4]) uint8 or uint16 image that a job asks for."""
    shot, alpha, foreground = _layers(job, photo, session, guidance)
    if job.output == "effect":
        return EFFECTS[job.effect].apply(shot, alpha, foreground())
    if job.output == "color":
        return composite(foreground(), alpha, np.uint8([[job.color]]))
    if job.output == "background":
        ground = in_color_space(_picture(job, "background", SMALLEST_SIDE), photo.icc)
        return replace_background(shot, alpha, foreground(), ground, job.match)
    return from_float(alpha, shot.dtype) if job.output == "alpha" else cut_out(foreground(), alpha)


def _layers(
    job: Job,
    photo: Picture,
    session: MattingSession,
    guidance: Mapping[str, Guidance | None],
) -> tuple[np.ndarray, np.ndarray, Callable[[], np.ndarray]]:
    """Photo, alpha and foreground colors: as sent along, else by the model.

    Returns
    -------
    photo : (H, W, 3) ndarray
        With 8 bits where the job has a cut-out, since its colors have 8.
    alpha : (H, W) float64 ndarray
    foreground : callable
        The colors, of the photo's shape and type; a matte alone needs none.
    """
    if "cutout" in job.parts:
        colors, opacity = _cutout(job, photo.bgr.shape[:2])
        return eight_bits(photo.bgr), opacity / 255, lambda: colors
    given = {kind: found.values for kind, found in guidance.items() if found}
    matte = session.matte(photo.bgr, **given)
    if not matte.person_found:
        if ALPHA in given:
            raise Refusal(422, "The alpha is black everywhere; send a matte that shows the person.")
        raise Refusal(422, "There is nobody in the photo; choose one with a person.")
    return photo.bgr, matte.alpha, lambda: matte.foreground


def _cutout(job: Job, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Colors (H, W, 3) BGR and opacity (H, W), uint8, of the part `cutout`."""
    content, most = job.parts["cutout"], job.most_pixels
    with _reading(), open_image(content, "The cutout", largest=most) as image:
        if not image.has_transparency_data:
            raise Refusal(400, "The cutout has no transparency; send the answer to this photo.")
        pixels = np.asarray(image.convert("RGBA"))
    if pixels.shape[:2] != shape:
        raise Refusal(400, "The cutout belongs to another photo; send the answer to this one.")
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGR), pixels[:, :, 3]


def _picture(job: Job, part: str, smallest: int = SMALLEST_PHOTO) -> Picture:
    with _reading():
        return read_picture(job.parts[part], f"The {part}", job.most_pixels, smallest)


def _guidance(job: Job, kind: str, photo: Picture) -> Guidance | None:
    """The part `trimap`, `mask` or `alpha`, read and checked; None where there is none."""
    if kind not in job.parts:
        return None
    name = f"The {kind}"
    if kind == ALPHA:
        with _reading():
            alpha = read_alpha(job.parts[kind], name, job.most_pixels)
        check_same_size(alpha, name, photo.bgr.shape, "the photo")
        return Guidance(alpha)
    with _reading():
        stored = read_guidance(kind, job.parts[kind], name, job.most_pixels)
    check_shape(stored, name, photo.bgr.shape, "the photo")
    return levels_of(kind, stored, name)


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what reading an image raises into the fitting status."""
    try:
        yield
    except TooLargeError as error:
        raise Refusal(413, str(error)) from error
    except InputError as error:
        raise Refusal(415, str(error)) from error
