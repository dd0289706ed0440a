"""What to do with a photo once its matte is known: the paper's applications.

Every function is pure and takes a photo, its matte and the person's own colors
(`tools.matting.session.Matte` has all three).  `EFFECTS` is the table that the command
line and the web page offer:

>>> photo = np.full((40, 30, 3), 90, np.uint8)
>>> alpha = np.zeros((40, 30))
>>> alpha[10:, 8:22] = 1
>>> EFFECTS["depth-of-field"].apply(photo, alpha, photo).shape
(40, 30, 3)

Notation as in the compositing equation I = alpha F + (1 - alpha) B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import cv2
import numpy as np

from data_prep.common.errors import InputError
from data_prep.common.srgb import to_display, to_linear
from tools.matting.image_arrays import check_image, described

Image = np.ndarray
#: From (H, W, 3) float32 BGR in [0, 1] to the same.
Style = Callable[[Image], Image]

# Filter sizes are shares of the photo's size (square root of its area), so
# that a photo and its reduced copy look the same.
LENS_RADIUS = 0.025
SKETCH_SIGMA = 0.012
OIL_RADIUS = 0.0055
CARTOON_SIGMA = 0.05
OUTLINE_SIGMA = 0.0018

# Before a lens blurs them, lights are stretched to this: white in a photo is
# anything that was bright enough.
BRIGHTEST_LIGHT = 3.0
# Weight of a pixel that the person covers, in the blur of the background: where
# everything is covered, the filled-in background shows.
COVERED_WEIGHT = 1e-4

PAPER = 0.06  # lightness below which nothing is drawn: noise of dark areas
HATCHING = 0.55  # of black
OIL_DIRECTIONS = 8
OIL_SHARPNESS = 3
CARTOON_LEVELS = 9
# How far the person's colors go toward those of a new background: lightness,
# green-red, blue-yellow.  All the way, skin stops looking like skin.
MATCH_STRENGTH = np.float32((0.3, 0.45, 0.45))
LARGEST_CONTRAST_CHANGE = 1.3


class EffectFunction(Protocol):
    """An effect on a photo and its matte."""

    def __call__(self, photo: Image, alpha: Image, foreground: Image, /) -> Image:
        """The changed photo.

        Parameters
        ----------
        photo : (H, W, 3) uint8 or uint16 ndarray
            BGR.
        alpha : (H, W) ndarray
            In [0, 1].
        foreground : (H, W, 3) ndarray
            The person's own colors, of the photo's type.

        Returns
        -------
        (H, W, 3) ndarray
            Image of the photo's type.
        """


@dataclass(frozen=True)
class Effect:
    """An entry of `EFFECTS`.

    Attributes
    ----------
    title : str
        For people.
    group : str
        Heading under which it is offered.
    apply : EffectFunction
    """

    title: str
    group: str
    apply: EffectFunction


# --- pixels -------------------------------------------------------------------


def to_float(image: Image) -> Image:
    """uint8 or uint16 to float32 in [0, 1]."""
    return np.float32(image) / np.float32(np.iinfo(image.dtype).max)


def from_float(values: Image, dtype: np.dtype) -> Image:
    """float in [0, 1], clipped, to uint8 or uint16."""
    highest = np.iinfo(dtype).max
    return (np.clip(values, 0, 1) * np.float32(highest) + np.float32(0.5)).astype(dtype)


def from_light(light: Image) -> Image:
    """sRGB values of light intensities, both in [0, 1]; more light is clipped."""
    return to_display(np.clip(light, 0, 1))


def _length(image: Image) -> float:
    return float(np.sqrt(image.shape[0] * image.shape[1]))


# --- taking a photo apart and putting it together -----------------------------


def check_layers(image: Image, alpha: Image) -> None:
    """Refuse a photo, or colors of a person, that does not belong to a matte.

    Raises
    ------
    InputError
        If the image is no (H, W, 3) array of uint8 or uint16, or alpha is no (H, W) array of
        floating-point values.
    """
    check_image(image, "A photo or foreground")
    if not isinstance(alpha, np.ndarray) or alpha.shape != image.shape[:2]:
        raise InputError(
            f"Alpha is an array of the photo's shape {image.shape[:2]}, not {described(alpha)}; "
            "give both of the same photo."
        )
    if alpha.dtype.kind != "f":
        raise InputError(f"Alpha goes from 0 to 1 in floats, not {described(alpha)}; divide it.")


def _check_ground(ground: Image) -> None:
    check_image(ground, "A ground, such as np.uint8([[(0, 0, 255)]]) for red,")


def composite(foreground: Image, alpha: Image, ground: Image) -> Image:
    """alpha F + (1 - alpha) B.

    Parameters
    ----------
    foreground, ground : (H, W, 3) uint8 or uint16 ndarray
        `ground` may be (1, 1, 3), one color.
    alpha : (H, W) ndarray

    Returns
    -------
    (H, W, 3) ndarray
        Typed as `foreground`.

    Raises
    ------
    InputError
        If one of them has another shape or type.
    """
    check_layers(foreground, alpha)
    _check_ground(ground)
    if ground.shape not in (foreground.shape, (1, 1, 3)):
        raise InputError(
            f"The ground is {ground.shape[1]}x{ground.shape[0]}, and the foreground "
            f"{foreground.shape[1]}x{foreground.shape[0]}; fit it with replace_background, or give "
            "one color as (1, 1, 3)."
        )
    opacity = np.float32(alpha)[:, :, None]
    values = opacity * to_float(foreground) + (1 - opacity) * to_float(ground)
    return from_float(values, foreground.dtype)


def cut_out(foreground: Image, alpha: Image) -> Image:
    """The person on a transparent ground: BGRA, not premultiplied, typed as `foreground`.

    Raises
    ------
    InputError
        As `check_layers`.
    """
    check_layers(foreground, alpha)
    return np.dstack([foreground, from_float(alpha, foreground.dtype)])


def remainder(photo: Image, alpha: Image, foreground: Image) -> Image:
    """(1 - alpha) B: what the photo shows of the background; float32.

    Raises
    ------
    InputError
        As `check_layers`.
    """
    check_layers(photo, alpha)
    check_layers(foreground, alpha)
    opacity = np.float32(alpha)[:, :, None]
    return np.clip(to_float(photo) - opacity * to_float(foreground), 0, 1 - opacity)


def background_plate(photo: Image, alpha: Image, foreground: Image) -> Image:
    """B: the background, as if nobody stood before it; float32.

    As far as the person covers it, it is filled in from around, smoothly
    (pull-push).
    """
    visible = 1 - np.float32(alpha)[:, :, None]
    return np.clip(_filled(remainder(photo, alpha, foreground), visible), 0, 1)


def _filled(premultiplied: Image, weight: Image) -> Image:
    """Colors everywhere from colors that are known to a `weight` in [0, 1]."""
    height, width = premultiplied.shape[:2]
    if max(height, width) <= 2:
        total = max(float(weight.sum()), 1e-6)
        return np.broadcast_to(premultiplied.sum(axis=(0, 1)) / total, premultiplied.shape)
    half = ((width + 1) // 2, (height + 1) // 2)
    coarse = cv2.resize(premultiplied, half, interpolation=cv2.INTER_AREA)
    coarse_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)[:, :, None]
    # One known pixel of four is enough to know the pixel above them.
    saturated = np.minimum(4 * coarse_weight, 1)
    gain = saturated / np.maximum(coarse_weight, 1e-6)
    below = _filled(coarse * gain, saturated)
    below = cv2.resize(below, (width, height), interpolation=cv2.INTER_LINEAR)
    return premultiplied + (1 - weight) * below


# --- background replacement ---------------------------------------------------


def cover(image: Image, shape: tuple[int, int]) -> Image:
    """Scale an image to cover (H, W), and crop what is too much, centered."""
    rows, columns = shape
    scale = max(rows / image.shape[0], columns / image.shape[1])
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(image, (max(width, columns), max(height, rows)), interpolation=filter_)
    top, left = (scaled.shape[0] - rows) // 2, (scaled.shape[1] - columns) // 2
    return np.ascontiguousarray(scaled[top : top + rows, left : left + columns])


def match_colors(foreground: Image, alpha: Image, ground: Image) -> Image:
    """Move the person's colors toward those of a new background.

    Mean and spread of the CIELAB channels go part of the way
    (`MATCH_STRENGTH`) to the background's, after Reinhard et al. 2001.

    Returns
    -------
    (H, W, 3) ndarray
        Like `foreground`.
    """
    person = cv2.cvtColor(to_float(foreground), cv2.COLOR_BGR2LAB)
    scene = cv2.cvtColor(to_float(ground), cv2.COLOR_BGR2LAB).reshape(-1, 3)
    weights = np.float64(alpha).ravel()
    if weights.sum() == 0:
        return foreground
    mean = np.average(person.reshape(-1, 3), axis=0, weights=weights)
    spread = np.sqrt(np.average((person.reshape(-1, 3) - mean) ** 2, axis=0, weights=weights))
    contrast = scene.std(axis=0) / np.maximum(spread, 1e-3)
    contrast = np.clip(contrast, 1 / LARGEST_CONTRAST_CHANGE, LARGEST_CONTRAST_CHANGE)
    contrast = contrast**MATCH_STRENGTH
    target = mean + MATCH_STRENGTH * (scene.mean(axis=0) - mean)
    matched = np.float32((person - mean) * contrast + target)
    return from_float(cv2.cvtColor(matched, cv2.COLOR_LAB2BGR), foreground.dtype)


def replace_background(
    photo: Image, alpha: Image, foreground: Image, ground: Image, match: bool = False
) -> Image:
    """The person before another picture.

    Parameters
    ----------
    photo, alpha, foreground
        See `Effect.apply`.
    ground : (h, w, 3) uint8 or uint16 ndarray
        BGR; scaled to cover the photo and cropped.
    match : bool
        Fit the person's colors to it.

    Raises
    ------
    InputError
        If one of them has another shape or type.
    """
    check_layers(photo, alpha)
    check_layers(foreground, alpha)
    _check_ground(ground)
    ground = cover(ground, photo.shape[:2])
    if match:
        foreground = match_colors(foreground, alpha, ground)
    return composite(foreground, alpha, ground)


def studio(shape: tuple[int, int], light: Image, dark: Image) -> Image:
    """A backdrop lit behind the head: (H, W, 3) uint16, BGR.

    Parameters
    ----------
    shape : (H, W)
    light, dark : (3,) array
        BGR in [0, 1], at the middle of the light and at the far corners.
    """
    rows, columns = shape
    down = (np.arange(rows, dtype=np.float32)[:, None] / rows - 0.4) / 0.8
    across = (np.arange(columns, dtype=np.float32)[None, :] / columns - 0.5) / 0.8
    share = np.clip(np.sqrt(down**2 + across**2), 0, 1)[:, :, None]
    share = share**2 * (3 - 2 * share)  # flat at both ends
    return from_float((1 - share) * np.float32(light) + share * np.float32(dark), np.uint16)


def before_studio(
    photo: Image, alpha: Image, foreground: Image, light: Image, dark: Image, match: bool = False
) -> Image:
    """The person before a studio backdrop."""
    ground = studio(photo.shape[:2], light, dark)
    return replace_background(photo, alpha, foreground, ground, match)


# --- depth of field -----------------------------------------------------------


def disc(radius: float) -> Image:
    """Kernel of a round aperture: sums to 1, its rim is anti-aliased."""
    reach = int(np.ceil(radius))
    across = np.arange(-reach, reach + 1)
    distance = np.hypot(across[:, None], across[None, :])
    kernel = np.clip(radius + 0.5 - distance, 0, 1)
    return np.float32(kernel / kernel.sum())


def depth_of_field(
    photo: Image, alpha: Image, foreground: Image, radius: float = LENS_RADIUS
) -> Image:
    """Blur the background as a lens does that is focused on the person.

    Light, not pixel values, is averaged over a disc.  Each pixel of the
    background counts as much as it is visible, so that no color of the person
    bleeds out.

    Parameters
    ----------
    photo, alpha, foreground
        See `Effect.apply`.
    radius : float
        The disc's, in units of the photo's size.
    """
    visible = 1 - np.float32(alpha)[:, :, None] + np.float32(COVERED_WEIGHT)
    light = to_linear(background_plate(photo, alpha, foreground))
    light = light / (1 + 1 / BRIGHTEST_LIGHT - light)
    kernel = disc(max(0.5, radius * _length(photo)))
    blur = partial(cv2.filter2D, ddepth=-1, kernel=kernel, borderType=cv2.BORDER_REFLECT)
    light = blur(np.float32(light * visible)) / blur(visible)[:, :, None]
    light = light * (1 + 1 / BRIGHTEST_LIGHT) / (1 + light)
    opacity = np.float32(alpha)[:, :, None]
    values = opacity * to_float(foreground) + (1 - opacity) * from_light(light)
    return from_float(values, photo.dtype)


# --- stylization --------------------------------------------------------------


def sketch(image: Image) -> Image:
    """Pencil on white paper: strokes at edges, light hatching in the dark.

    Strokes are the gray image divided by its own blur.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    blurred = cv2.GaussianBlur(gray, (0, 0), max(0.8, SKETCH_SIGMA * _length(image)))
    strokes = np.clip((gray + PAPER) / (blurred + PAPER), 0, 1) ** 2.5
    drawn = strokes * (1 - HATCHING * (1 - gray) ** 2)
    return np.repeat(drawn[:, :, None], 3, axis=2)


def cartoon(image: Image) -> Image:
    """Flat colors in a few levels of lightness, with dark outlines."""
    flat = cv2.edgePreservingFilter(
        from_float(image, np.uint8),
        flags=cv2.RECURS_FILTER,
        sigma_s=max(5.0, CARTOON_SIGMA * _length(image)),
        sigma_r=0.35,
    )
    flat = to_float(flat)
    lab = cv2.cvtColor(flat, cv2.COLOR_BGR2LAB)
    step = 100 / CARTOON_LEVELS
    position = lab[:, :, 0] / step - 0.5
    level = np.floor(position)
    # Steep, not hard: a hard step turns noise into speckles.
    rise = np.clip((position - level - 0.5) * 4 + 0.5, 0, 1)
    lab[:, :, 0] = (level + rise + 0.5) * step
    lab[:, :, 1:] *= 1.25
    colors = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), 0, 1)
    return colors * _outlines(flat)[:, :, None]


def _outlines(image: Image) -> Image:
    """(H, W) factors: dark where a pixel is darker than its surroundings."""
    sigma = max(0.6, OUTLINE_SIGMA * _length(image))
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    near, far = (cv2.GaussianBlur(gray, (0, 0), sigma * times) for times in (1, 1.6))
    return np.clip(1 + 40 * (near - far + 0.008), 0.15, 1)


def oil(image: Image) -> Image:
    """Brush strokes: the generalized Kuwahara filter (Papari et al. 2007).

    Every pixel becomes a mean of the `OIL_DIRECTIONS` blurred spots around it;
    the most even ones outweigh the others by far, so that edges stay.
    """
    radius = max(1.5, OIL_RADIUS * _length(image))
    blur = partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=radius / 2)
    mean = blur(image)
    unevenness = np.clip(blur(image * image) - mean * mean, 0, None).sum(axis=2)
    weight = (unevenness + np.float32(1e-4)) ** -OIL_SHARPNESS
    reach = int(np.ceil(radius))
    layers = np.pad(
        np.dstack([mean * weight[:, :, None], weight]),
        ((reach, reach), (reach, reach), (0, 0)),
        "edge",
    )
    height, width = weight.shape
    total = np.zeros((height, width, 4), np.float32)
    for angle in np.arange(OIL_DIRECTIONS) * 2 * np.pi / OIL_DIRECTIONS:
        down = reach + round(radius * np.sin(angle))
        across = reach + round(radius * np.cos(angle))
        total += layers[down : down + height, across : across + width]
    return np.clip(total[:, :, :3] / total[:, :, 3:], 0, 1)


def stylize_person(photo: Image, alpha: Image, foreground: Image, style: Style) -> Image:
    """Apply a style to the person; the background stays."""
    behind = remainder(photo, alpha, foreground)
    values = np.float32(alpha)[:, :, None] * style(to_float(foreground)) + behind
    return from_float(values, photo.dtype)


def stylize_background(photo: Image, alpha: Image, foreground: Image, style: Style) -> Image:
    """Apply a style to the background; the person stays."""
    opacity = np.float32(alpha)[:, :, None]
    ground = style(background_plate(photo, alpha, foreground))
    values = opacity * to_float(foreground) + (1 - opacity) * ground
    return from_float(values, photo.dtype)


# --- color transforms ---------------------------------------------------------


def black_and_white(image: Image) -> Image:
    """The gray image, in three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def tone(image: Image, gains: Image) -> Image:
    """Other light: light intensities times `gains` (blue, green, red)."""
    return from_light(to_linear(image) * np.float32(gains))


# --- the table ----------------------------------------------------------------

WARM, COOL = (0.72, 0.97, 1.12), (1.05, 0.72, 0.5)
GRAY_STUDIO = {"light": (0.82, 0.80, 0.78), "dark": (0.30, 0.28, 0.26)}
SUNSET_STUDIO = {"light": (0.45, 0.66, 0.98), "dark": (0.36, 0.18, 0.40)}

STYLES: dict[str, Style] = {"sketch": sketch, "cartoon": cartoon, "oil": oil}
EFFECTS: dict[str, Effect] = {
    "studio": Effect("Studio", "Background", partial(before_studio, **GRAY_STUDIO)),
    "sunset": Effect(
        "Sunset, colors matched", "Background", partial(before_studio, **SUNSET_STUDIO, match=True)
    ),
    "depth-of-field": Effect("Depth of field", "Background", depth_of_field),
    "gray-background": Effect(
        "Black-and-white background", "Color", partial(stylize_background, style=black_and_white)
    ),
    "warm-person": Effect(
        "Warm person", "Color", partial(stylize_person, style=partial(tone, gains=WARM))
    ),
    "cool-background": Effect(
        "Cool background", "Color", partial(stylize_background, style=partial(tone, gains=COOL))
    ),
    **{
        f"{name}-{part}": Effect(
            f"{name.capitalize()} {part}", "Look", partial(stylize, style=style)
        )
        for name, style in STYLES.items()
        for part, stylize in (("person", stylize_person), ("background", stylize_background))
    },
}
