"""Patterns of skin as small images that repeat without a seam.

Looking them up costs a tenth of what procedural noise costs at every sample.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy.ndimage import gaussian_filter

TILE = 512  # pixels
FINE_SIDE = 0.10  # meters of skin that a fine tile covers
BROAD_SIDE = 0.60
SPREAD = 0.16  # standard deviation of noise about 0.5
PATTERN_SEED = 20160908  # of the tiles; people differ by how they are shifted


def band_noise(rng: np.random.Generator, finest: float, coarsest: float) -> np.ndarray:
    """Random noise that repeats without a seam.

    Parameters
    ----------
    finest, coarsest : float
        Wavelengths between which all octaves are equally strong, in pixels.

    Returns
    -------
    (TILE, TILE) float64 ndarray
        Mean 0.5, standard deviation `SPREAD`, clipped to [0, 1].
    """
    spectrum = np.fft.rfft2(rng.normal(size=(TILE, TILE)))
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :])
    inside = np.exp(-((frequency * finest) ** 4)) * -np.expm1(-((frequency * coarsest) ** 4))
    spectrum *= inside / np.maximum(frequency, 1 / TILE)
    noise = np.fft.irfft2(spectrum, s=(TILE, TILE))
    return np.clip(0.5 + SPREAD * noise / noise.std(), 0, 1)


def scattered_dots(
    rng: np.random.Generator, count: int, radii: tuple[float, float], softness: float
) -> np.ndarray:
    """Round dots at random places, without a seam.

    Parameters
    ----------
    radii : (float, float)
        Smallest and largest radius, in pixels.
    softness : float
        Deviation of the blur of their borders, in pixels.

    Returns
    -------
    (TILE, TILE) float64 ndarray
        0 beside, up to 1 inside; dots differ in strength.
    """
    tile = np.zeros((TILE, TILE))
    centers = rng.integers(0, TILE, size=(count, 2))
    sizes = rng.uniform(*radii, size=count)
    strengths = rng.uniform(0.3, 1.0, size=count)
    reach = int(np.ceil(radii[1]))
    steps = np.arange(-reach, reach + 1)
    distance = np.hypot(steps[:, None], steps[None, :])
    for center, size, strength in zip(centers, sizes, strengths):
        window = np.ix_((center[0] + steps) % TILE, (center[1] + steps) % TILE)
        tile[window] = np.maximum(tile[window], strength * (distance <= size))
    return gaussian_filter(tile, softness, mode="wrap")


def _millimeters(length: float, side: float) -> float:
    """Pixels of a tile of `side` meters that `length` millimeters take."""
    return length / 1000 / side * TILE


@functools.cache
def fine_tile() -> np.ndarray:
    """Skin close up, `FINE_SIDE` wide.

    Returns
    -------
    (TILE, TILE, 3) float64 ndarray in [0, 1]
        Mottling of 2 to 15 mm; relief of 0.6 to 3 mm; freckles of 1 to 3 mm.
    """
    rng = np.random.default_rng([PATTERN_SEED, 0])
    pixels = functools.partial(_millimeters, side=FINE_SIDE)
    return np.stack(
        [
            band_noise(rng, pixels(2.0), pixels(15.0)),
            band_noise(rng, pixels(0.6), pixels(3.0)),
            scattered_dots(rng, 900, (pixels(0.4), pixels(1.4)), pixels(0.25)),
        ],
        axis=-1,
    )


@functools.cache
def broad_tile() -> np.ndarray:
    """Skin of a whole face and more, `BROAD_SIDE` wide.

    Returns
    -------
    (TILE, TILE, 3) float64 ndarray in [0, 1]
        Shades of 12 to 90 mm; age spots of 3 to 7 mm; moles of 2 to 4 mm.
    """
    rng = np.random.default_rng([PATTERN_SEED, 1])
    pixels = functools.partial(_millimeters, side=BROAD_SIDE)
    return np.stack(
        [
            band_noise(rng, pixels(12.0), pixels(90.0)),
            scattered_dots(rng, 500, (pixels(1.5), pixels(3.5)), pixels(0.8)),
            scattered_dots(rng, 130, (pixels(0.9), pixels(1.8)), pixels(0.4)),
        ],
        axis=-1,
    )
