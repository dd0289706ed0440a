"""What versions of the code make of fixed inputs, to see that no output changes unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def fingerprint(values: np.ndarray | Sequence, count: int = 8) -> list[float]:
    """Sums of all values with random signs, divided by the root of how many there are.

    A change of the values with root mean square r moves each of them by about r, wherever
    and in whatever direction it is; what rounding does on another processor moves them
    as little as it moves the values.

    Parameters
    ----------
    values : array_like
    count : int

    Returns
    -------
    list of `count` float
    """
    flat = np.asarray(values, np.float64).ravel()
    generator = np.random.default_rng(0)
    signs = (generator.integers(0, 2, flat.size) * 2 - 1 for _ in range(count))
    return [float(each @ flat / np.sqrt(flat.size)) for each in signs]


def assert_recorded(
    found: Sequence[float] | str,
    recorded: Mapping[int, Sequence[float] | str],
    version: int,
    name: str,
    tolerance: float = 0.0,
) -> None:
    """Fail where an output is not what is recorded for its version.

    Parameters
    ----------
    found : sequence of float or str
        A `fingerprint`, or a digest.
    recorded : mapping
        What was found, by version.
    version : int
    name : str
        What holds the version: a constant and its module.
    tolerance : float
        By which numbers may differ on another processor.
    """
    written = repr(found if isinstance(found, str) else [round(float(x), 6) for x in found])
    assert version in recorded, f"Nothing is recorded for {name} = {version}; record {written}."
    expected = recorded[version]
    same = (
        expected == found
        if isinstance(found, str)
        else np.allclose(found, expected, rtol=0, atol=tolerance)
    )
    assert same, (
        f"The output has changed, and work that was kept before would be taken for new: "
        f"raise {name} above {version} and record for it {written} "
        f"(for {version} it was {expected!r})."
    )
