"""Where every random number of the studio comes from.

One stream for each concern of each number: image `number` of `seed` gets the
same person, hair, light and so on everywhere, rendered alone or among others,
and a concern that draws one number more changes no other concern.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, number: int, concern: str) -> np.random.Generator:
    """The stream of one concern.

    Parameters
    ----------
    seed : int
        Seed of the whole set, not negative.
    number : int
        Number of the image, or of the person where the concern belongs to a person.
    concern : str
        ``"light"``, ``"hair"``...

    Returns
    -------
    numpy.random.Generator
        PCG64, seeded through `numpy.random.SeedSequence`; independent of the
        streams of any other arguments.
    """
    name = int.from_bytes(hashlib.sha256(concern.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number, name])))


def clipped_normal(
    rng: np.random.Generator, mean: float, deviation: float, low: float, high: float
) -> float:
    """One draw of a normal distribution, clipped to [low, high]."""
    return float(np.clip(rng.normal(mean, deviation), low, high))


def pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One key of `weights`, each as probable as its weight says (any positive sum)."""
    values = np.fromiter(weights.values(), dtype=float)
    return list(weights)[int(rng.choice(len(values), p=values / values.sum()))]
