"""Mattes of methods that are compared: each in a file, with the time that it took.

What stands here needs neither Caffe nor what only the product imports: `make compare-peers`
runs it in an environment of its own, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError
from data_prep.common.pictures import read_alpha, write_picture
from data_prep.datasets.dataset import Dataset
from data_prep.datasets.resume import Journal, is_done
from tools.evaluation.photo_folders import PhotoFolder
from tools.evaluation.portraits import listed_portraits
from tools.evaluation.truths import PhotoTruth, truths_of_portraits
from tools.matting.photo_view import resized

MATTES = "mattes"  # the folder with one folder for each method
RECORDS = "mattes.jsonl"  # in the folder of a method
SIXTEEN_BITS = 65535

#: From a photo, (H, W, 3) uint8 BGR, and the matte of another method, (H, W) float64, for
#: methods that refine one, to a matte: (h, w) float in [0, 1], stretched to the photo.
MatteFunction = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class Method:
    """A way to get mattes.

    Attributes
    ----------
    name : str
        Of its folder of mattes.
    title : str
        What tables and sheets call it.
    load : callable
        Reads the weights; takes no arguments.
    key : str
        Digest of what its mattes depend on, besides the photos: weights, settings, and the
        version of the code where it is ours.
    refines : str or None
        Name of the method whose mattes it begins with, and whose time counts too.
    """

    name: str
    title: str
    load: Callable[[], MatteFunction]
    key: str = ""
    refines: str | None = None


@dataclass(frozen=True)
class Written:
    """The matte of one photo, in a file.

    Attributes
    ----------
    name : str
        The photo's.
    seconds, core_seconds : float
        From the photo in memory to the matte in memory, after a photo that does not count:
        on the clock, and of all processor cores, which other programs disturb less.
    key : str
        Digest of what the matte depends on.
    files : dict of str to str
        Digest by name in the method's folder.
    """

    name: str
    seconds: float
    core_seconds: float
    key: str
    files: dict[str, str]


def listed_truths(folder: Path, every: int = 1) -> tuple[list[PhotoTruth], str]:
    """Photos to compare on, and a remark on files that are passed over.

    Parameters
    ----------
    folder : Path
        A dataset, whose test list is taken, or any folder that `PhotoFolder` knows.
    every : int
        Every Nth photo.

    Raises
    ------
    InputError
        If there is no photo.
    """
    if (folder / "test.txt").is_file():
        dataset = Dataset.open(folder, test_only=True)
        truths, remark = truths_of_portraits(folder, listed_portraits(dataset, None)), ""
    else:
        found = PhotoFolder.of(folder)
        truths, remark = found.truths, found.remark
    return truths[::every], remark


def matte_file(out: Path, method: str, name: str) -> Path:
    """Where the matte of a photo lies: a gray PNG of 16 bits."""
    return out / MATTES / method / f"{name}.png"


def write_mattes(
    method: Method, truths: Sequence[PhotoTruth], out: Path
) -> Iterator[tuple[Written, bool]]:
    """Matte photos one after another, each in a file of its own.

    Mattes that are there, of the same photos and method, are not made again.

    Parameters
    ----------
    method : Method
    truths : sequence of PhotoTruth
    out : Path
        Mattes are in ``mattes/METHOD/NAME.png`` below it.

    Yields
    ------
    written : Written
    is_new : bool

    Raises
    ------
    InputError
        If a photo cannot be read, or a matte not be made.
    OSError
        If there is no matte to refine.
    """
    folder = out / MATTES / method.name
    journal = Journal(folder, RECORDS)
    known = written_mattes(method, out)
    journal.start(asdict(each) for each in known.values())
    function: MatteFunction | None = None
    for truth in truths:
        given = matte_file(out, method.refines, truth.name) if method.refines else None
        files = [truth.pair.photo, *([given] if given else [])]
        digests = [sha256_of(path) for path in files]
        key = content_key(method.name, method.key, truth.pair.crop, digests)
        before = known.get(truth.name)
        if before is not None and is_done(asdict(before), key, folder):
            yield before, False
            continue
        photo = truth.read_photo()
        mask = read_alpha(given) if given else None
        if function is None:
            function = method.load()
            function(photo, mask)  # what is made on first use does not count
        start = time.perf_counter(), time.process_time()
        alpha = resized(np.asarray(function(photo, mask), np.float32), photo.shape[:2])
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
        path = matte_file(out, method.name, truth.name)
        levels = np.rint(SIXTEEN_BITS * np.clip(alpha, 0, 1)).astype(np.uint16)
        write_picture(path, levels)
        digest = {path.relative_to(folder).as_posix(): sha256_of(path)}
        written = Written(truth.name, *seconds, key, digest)
        journal.append(asdict(written))
        yield written, True


def check_written(methods: Sequence[Method], truths: Sequence[PhotoTruth], out: Path) -> None:
    """Refuse a folder without mattes of some methods, before hours of work on others.

    Raises
    ------
    InputError
    """
    names = {truth.name for truth in truths}
    missing = [each.name for each in methods if not names <= written_mattes(each, out).keys()]
    if missing:
        raise InputError(
            f"{out} holds not all mattes of {', '.join(missing)}; make them by the step `masks` "
            "first, as `make compare-peers` does."
        )


def written_mattes(method: Method, out: Path) -> dict[str, Written]:
    """What `write_mattes` has kept, by the photo's name."""
    records = Journal(out / MATTES / method.name, RECORDS).read()
    return {record["name"]: Written(**record) for record in records}
