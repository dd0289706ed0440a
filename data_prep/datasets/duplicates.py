"""The same photo under several names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.common.digests import sha256_of
from data_prep.common.images import read_photo
from data_prep.datasets.manifest import Problem


def equal_files(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of two and more files of the same content.

    Only files of equal size are read.
    """
    by_size: dict[int, list[Path]] = {}
    for path in filter(Path.is_file, paths):
        by_size.setdefault(path.stat().st_size, []).append(path)
    by_content: dict[str, list[Path]] = {}
    for group in by_size.values():
        for path in group if len(group) > 1 else ():
            by_content.setdefault(sha256_of(path), []).append(path)
    return [group for group in by_content.values() if len(group) > 1]


def duplicate_problems(
    groups: Iterable[Sequence[Path]], side_of: Mapping[Path, str]
) -> list[Problem]:
    """One problem for each photo that is on another side than its equal.

    Parameters
    ----------
    groups : iterable of sequence of Path
        Photos that are equal, by group.
    side_of : mapping of Path to str
        "train", "test" or "validation".
    """
    problems = []
    for first, *others in groups:
        for photo in others:
            if side_of[photo] != side_of[first]:
                reason = (
                    f"it is the same photo as {first.name}, and one is for {side_of[first]}, "
                    f"the other for {side_of[photo]}; leave one of them out"
                )
                problems.append(Problem(photo, reason))
    return problems


def equal_photos(
    landmarks: Mapping[Path, np.ndarray | None], side_of: Mapping[Path, str]
) -> list[list[Path]]:
    """Groups of photos of the same pixels on more than one side, however they are stored.

    Parameters
    ----------
    landmarks : mapping of Path to (68, 2) ndarray or None
        Landmarks of the face in each photo.  Equal pixels have equal landmarks: no other photos
        are read, and none without a face.
    side_of : mapping of Path to str
    """
    by_face: dict[bytes, list[Path]] = {}
    for photo, points in landmarks.items():
        if points is not None:
            by_face.setdefault(points.tobytes(), []).append(photo)
    by_pixels: dict[bytes, list[Path]] = {}
    for photos in by_face.values():
        if len({side_of[photo] for photo in photos}) > 1:
            for photo in photos:
                by_pixels.setdefault(read_photo(photo).tobytes(), []).append(photo)
    return [group for group in by_pixels.values() if len(group) > 1]
