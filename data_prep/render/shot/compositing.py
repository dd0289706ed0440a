"""From rendered light to a photo: exposure, tone, I = aF + (1-a)B, camera effects.

Foreground F and background B are developed first, each by itself, to 8-bit
display colors; the composite is taken of these.  So the delivered foreground,
matte and background give the photo to the rounding of 8 bits, up to what the
camera adds last: noise and JPEG.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.common.images import compressed
from data_prep.common.srgb import to_display, to_linear
from data_prep.render.base.colors import luminance
from data_prep.render.base.randomness import clipped_normal

# Color is taken from the pixel itself, or from ever larger neighborhoods
# (deviations in pixels), as soon as so much of them is covered.
NEIGHBORHOODS = (0.0, 0.8, 2.0, 5.0, 12.0)
ENOUGH_COVERAGE = (0.95, 0.6, 0.2, 0.06, 0.01)

# A thin strand keeps this share (of the logarithm) of its own brightness against that
# mean, within these limits: it sparkles, but not with all of the noise.
SPARKLE, SPARKLE_LIMITS = 0.5, (0.4, 2.5)
SEEN_COVERAGE = 0.25  # from which a pixel has seen enough of its strand

FACE_PERCENTILE = 70  # of the luminance in the face: what exposure looks at


@dataclass(frozen=True)
class DevelopChoice:
    """How a photo is exposed and developed, and what its camera adds.

    Attributes
    ----------
    brightness : float
        Exposure of the face against the average photo's.
    contrast : float
        About the middle of the display range.
    saturation : float
    white_balance : (3,) tuple of float
        Gains of linear R, G and B.
    noise : float
        Standard deviation of the noise in middle gray, display range 0 to 1.
    grain : float
        Standard deviation of its blur in pixels; 0 is independent pixels.
    jpeg_quality : int
        Quality of the camera's JPEG; 100 is none.
    noise_seed : int
    """

    brightness: float
    contrast: float
    saturation: float
    white_balance: tuple[float, float, float]
    noise: float
    grain: float
    jpeg_quality: int
    noise_seed: int


def choose_development(rng: np.random.Generator, light_warmth: float = 0.0) -> DevelopChoice:
    """Draw exposure, tone and camera effects.

    Parameters
    ----------
    light_warmth : float
        Warmth of the light (`light.LightChoice.warmth`): the camera takes most of it back.
    """
    cast = clipped_normal(rng, -0.6 * light_warmth, 0.10, -0.6, 0.6)
    tint = clipped_normal(rng, 0.0, 0.02, -0.05, 0.05)
    return DevelopChoice(
        brightness=float(rng.uniform(0.75, 1.3)),
        contrast=float(rng.uniform(0.97, 1.12)),
        saturation=float(rng.uniform(0.85, 1.15)),
        white_balance=(1 + 0.35 * cast, 1 + tint, 1 - 0.4 * cast),
        noise=float(rng.uniform(0.002, 0.009)),
        grain=float(rng.choice([0.0, 0.0, 0.5, 0.8])),
        jpeg_quality=int(rng.choice([100, int(rng.integers(70, 98))])),
        noise_seed=int(rng.integers(2**31)),
    )


def unpremultiplied(color: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Foreground colors of all pixels.

    A pixel that is covered has its own color.  Where hair lets the background
    through, few of the color pass's samples hit it and the quotient of color
    and coverage is mostly noise: there the color is the mean over the covered
    part of the neighborhood, which is the larger the less is covered.  A strand
    keeps some of its own brightness (`SPARKLE`).

    Parameters
    ----------
    color : (H, W, 3) ndarray
        Premultiplied, linear.
    coverage : (H, W) ndarray
        What `color` is premultiplied by (noisier than the matte).

    Returns
    -------
    (H, W, 3) float32 ndarray
        Linear; 0 where no foreground is anywhere near.
    """
    color = np.ascontiguousarray(color, dtype=np.float32)
    coverage = np.clip(coverage, 0, 1).astype(np.float32)
    result = np.zeros_like(color)
    known = np.zeros(coverage.shape, np.float32)  # share of the color that is decided
    for deviation, enough in zip(NEIGHBORHOODS, ENOUGH_COVERAGE):
        summed, weight = color, coverage
        if deviation > 0:
            summed = cv2.GaussianBlur(color, (0, 0), deviation)
            weight = cv2.GaussianBlur(coverage, (0, 0), deviation)
        share = (1 - known) * np.clip((weight - 0.5 * enough) / (0.5 * enough), 0, 1)
        result += (share / np.maximum(weight, 1e-6))[..., None] * summed
        known += share
    result /= np.maximum(known, 1e-6)[..., None]
    return result * _sparkle(color, coverage, result)[..., None]


def _sparkle(color: np.ndarray, coverage: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Factor (H, W) by which a pixel's strand is brighter than its neighborhood."""
    own = luminance(color) / np.maximum(coverage, 1e-6)
    ratio = np.clip((own + 1e-4) / (luminance(mean) + 1e-4), *SPARKLE_LIMITS)
    return ratio ** (SPARKLE * np.clip(coverage / SEEN_COVERAGE, 0, 1))


def exposure(
    foreground: np.ndarray,
    matte: np.ndarray,
    face: tuple[float, float, float],
    skin_tone: float,
    brightness: float,
) -> float:
    """Factor that exposes a face as photographers do: dark skin darker, but not as much.

    Parameters
    ----------
    foreground : (H, W, 3) ndarray
        Linear.
    matte : (H, W) ndarray
    face : (x, y, radius)
        Pixels.
    skin_tone : float
        0 palest to 1 darkest.
    brightness : float
        See `DevelopChoice`.
    """
    height, width = matte.shape
    rows, columns = np.mgrid[:height, :width]
    x, y, radius = face
    inside = ((columns - x) ** 2 + (rows - y) ** 2 < radius**2) & (matte > 0.9)
    if not inside.any():
        inside = matte > 0.5
    if not inside.any():
        return 1.0
    level = float(np.percentile(luminance(foreground[inside]), FACE_PERCENTILE))
    return float(np.clip((0.47 - 0.30 * skin_tone) * brightness / max(level, 1e-4), 1e-3, 1e3))


def _balanced(linear: np.ndarray, choice: DevelopChoice) -> np.ndarray:
    """White balance and saturation of linear light."""
    light = np.maximum(linear, 0) * np.array(choice.white_balance, dtype=np.float32)
    gray = luminance(light)[..., None]
    return np.maximum(gray + choice.saturation * (light - gray), 0)


def _contrasted(display: np.ndarray, choice: DevelopChoice) -> np.ndarray:
    return np.clip(0.5 + (display - 0.5) * choice.contrast, 0, 1).astype(np.float32)


def tone_mapped(linear: np.ndarray, gain: float, choice: DevelopChoice) -> np.ndarray:
    """Display colors of rendered light: balance, a filmic shoulder, contrast.

    Parameters
    ----------
    linear : (H, W, 3) ndarray
    gain : float
        Exposure.

    Returns
    -------
    (H, W, 3) float32 ndarray
        In [0, 1].
    """
    light = _balanced(linear, choice) * (0.6 * gain)
    # Narkowicz' fit of the ACES curve.
    mapped = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    return _contrasted(to_display(np.clip(mapped, 0, 1)), choice)


def develop_background(display: np.ndarray, choice: DevelopChoice) -> np.ndarray:
    """The same balance and contrast for a background, whose tones are final already.

    Parameters
    ----------
    display : (H, W, 3) ndarray
        In [0, 1].

    Returns
    -------
    (H, W, 3) float32 ndarray
        In [0, 1].
    """
    return _contrasted(to_display(np.clip(_balanced(to_linear(display), choice), 0, 1)), choice)


def quantized(values: np.ndarray, bits: int = 8) -> np.ndarray:
    """Values in [0, 1] as whole numbers of 8 or 16 bits, rounded."""
    kind = {8: np.uint8, 16: np.uint16}[bits]
    return np.rint(np.clip(values, 0, 1) * (2**bits - 1)).astype(kind)


def composite(foreground: np.ndarray, background: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """I = aF + (1-a)B.

    Parameters
    ----------
    foreground, background : (H, W, 3) uint8 ndarray
    matte : (H, W) uint8 or uint16 ndarray

    Returns
    -------
    (H, W, 3) float32 ndarray
        0 to 255, not rounded.
    """
    alpha = (matte / np.float32(np.iinfo(matte.dtype).max))[..., None].astype(np.float32)
    return alpha * foreground + (1 - alpha) * background


def camera_effects(photo: np.ndarray, choice: DevelopChoice) -> np.ndarray:
    """Noise of the sensor, then the camera's JPEG.

    Parameters
    ----------
    photo : (H, W, 3) float32 ndarray
        RGB, 0 to 255.

    Returns
    -------
    (H, W, 3) uint8 ndarray
        RGB.
    """
    rng = np.random.Generator(np.random.PCG64(choice.noise_seed))
    noise = rng.standard_normal(photo.shape, dtype=np.float32)
    if choice.grain > 0:
        noise = cv2.GaussianBlur(noise, (0, 0), choice.grain)
        noise /= noise.std()
    # Shot noise grows with light, but the tone curve flattens it in the highlights.
    strength = 0.6 + 0.8 * np.sqrt(np.clip(photo / 255, 0, 1)) * (1 - 0.5 * photo / 255)
    noisy = photo + 255 * choice.noise * strength * noise
    result = np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)
    if choice.jpeg_quality < 100:
        options = (cv2.IMWRITE_JPEG_QUALITY, choice.jpeg_quality)
        content = compressed(np.ascontiguousarray(result[:, :, ::-1]), ".jpg", options)
        result = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    return np.ascontiguousarray(result)
