"""A folder of portraits and mattes: lists, pairs, and everything wrong with them.

    images/         photos, .jpg, .jpeg or .png
    mattes/         alpha of the same stem, .png
    train.txt       one stem a line
    test.txt
    validation.txt  optional: neither trained nor tested on, to choose weights by
    dataset.json    optional: origin and checksums (`dataset_manifest`)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.dataset_manifest import DatasetManifest, Problem, check_finished
from data_prep.errors import InputError
from data_prep.images import atomic_write, read_matte, read_photo

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
TRAINING_SHARE = 1700 / 2000  # of the paper's dataset
LISTS = ("train", "test")
VALIDATION = "validation"
#: Height and width of every prepared portrait, as in the paper.
FRAME = (800, 600)


@dataclass(frozen=True)
class Portrait:
    """One photo and its matte."""

    stem: str
    photo: Path
    matte: Path


class DatasetError(InputError):
    """A dataset cannot be used; the message lists every file and its reason.

    Attributes
    ----------
    problems : list of Problem
    """

    def __init__(self, folder: Path, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        lines = "\n".join(map(str, self.problems))
        super().__init__(
            f"{folder} has {count} problem{'s' * (count > 1)}; "
            f"correct or unlist these files:\n{lines}"
        )


def write_lists(
    folder: Path, train: Sequence[str], test: Sequence[str], validation: Sequence[str] = ()
) -> None:
    """Write train.txt, test.txt and, unless it is empty, validation.txt, each atomically."""
    lists = dict(zip(LISTS, (train, test), strict=True))
    if validation:
        lists[VALIDATION] = validation
    for name, stems in lists.items():
        with atomic_write(folder / f"{name}.txt") as scratch:
            scratch.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")


def split_stems(stems: Sequence[str], seed: int = 0) -> tuple[list[str], list[str]]:
    """Random training and test lists in the paper's proportion of 1700 to 300.

    Parameters
    ----------
    stems : sequence of str
        Their order does not matter.
    seed : int

    Returns
    -------
    train, test : list of str
        Sorted; two stems or more leave none of the lists empty.
    """
    ordered = sorted(stems)
    order = np.random.default_rng(seed).permutation(len(ordered))
    count = round(len(ordered) * TRAINING_SHARE)
    if len(ordered) > 1:
        count = min(max(count, 1), len(ordered) - 1)
    train = sorted(ordered[i] for i in order[:count])
    test = sorted(ordered[i] for i in order[count:])
    return train, test


def read_list(path: Path) -> list[str]:
    """Stems of a list file, one a line; empty lines do not count.

    Raises
    ------
    InputError
        If the file is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; write one file stem a line.") from None
    return [line.strip() for line in lines if line.strip()]


def _files_by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            found.setdefault(path.stem, []).append(path)
    return found


def _list_problems(folder: Path, lists: dict[str, list[str]]) -> list[Problem]:
    """Empty lists, stems listed twice, stems in both lists."""
    problems = []
    seen: dict[str, str] = {}
    for name, stems in lists.items():
        path = folder / f"{name}.txt"
        if not stems:
            problems.append(Problem(path, "the list is empty"))
        for stem in stems:
            if stem in seen:
                problems.append(Problem(path, f"{stem} is already in {seen[stem]}.txt"))
            seen[stem] = name
    return problems


def read_portrait(
    portrait: Portrait, size: tuple[int, int] | None = None
) -> tuple[list[np.ndarray], list[Problem]]:
    """Read a photo and its matte, and say what is wrong with them.

    Parameters
    ----------
    portrait : Portrait
    size : (width, height), optional
        That the photo must have.

    Returns
    -------
    images : list of ndarray
        The photo and the matte, as `read_photo` and `read_matte` give them;
        of use where there is no problem.
    problems : list of Problem
        Unreadable files, a matte of another size than its photo, a photo of
        another size than `size`.
    """
    images, problems = [], []
    for path, read in ((portrait.photo, read_photo), (portrait.matte, read_matte)):
        try:
            images.append(read(path))
        except InputError as error:
            problems.append(Problem(path, str(error)))
    if problems:
        return images, problems
    (height, width), (matte_height, matte_width) = (image.shape[:2] for image in images)
    if (height, width) != (matte_height, matte_width):
        reason = (
            f"the matte is {matte_width}x{matte_height} pixels, its photo {width}x{height}"
        )
        problems.append(Problem(portrait.matte, reason))
    if size is not None and (width, height) != size:
        reason = (
            f"the photo is {width}x{height} pixels; "
            f"crop it and its matte to {size[0]}x{size[1]}"
        )
        problems.append(Problem(portrait.photo, reason))
    return images, problems


@dataclass(frozen=True)
class Dataset:
    """Portraits of a folder, split in training and test.

    Attributes
    ----------
    folder : Path
    train, test : list of Portrait
    validation : list of Portrait
        Neither trained nor tested on; mostly empty.
    """

    folder: Path
    train: list[Portrait]
    test: list[Portrait]
    validation: list[Portrait] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path | str, seed: int = 0) -> Dataset:
        """Read the lists and pair photos with mattes; pixels are not read.

        Without lists every pair of the folder is used, split by `split_stems`.
        With a manifest the listed files are compared with its checksums.

        Parameters
        ----------
        folder : path
        seed : int
            Of the split, where the folder has no lists.

        Raises
        ------
        DatasetError
            All that is wrong at once: missing photos and mattes, two photos of
            one stem, empty lists, stems listed twice or in both lists, files
            that are not those of the manifest.
        InputError
            If a folder is missing, or one of the two lists, or the import that
            makes the folder was interrupted.
        """
        folder = Path(folder)
        check_finished(folder)
        for part in ("images", "mattes"):
            if not (folder / part).is_dir():
                raise InputError(
                    f"{folder / part} does not exist; a dataset has the folders "
                    "images and mattes."
                )
        photos = _files_by_stem(folder / "images", PHOTO_SUFFIXES)
        mattes = _files_by_stem(folder / "mattes", (".png",))
        present = [name for name in LISTS if (folder / f"{name}.txt").is_file()]
        if len(present) == 1:
            raise InputError(
                f"{folder} has {present[0]}.txt only; it takes both train.txt and "
                "test.txt, or none for a random split."
            )
        if present:
            lists = {name: read_list(folder / f"{name}.txt") for name in LISTS}
            if (folder / f"{VALIDATION}.txt").is_file():
                lists[VALIDATION] = read_list(folder / f"{VALIDATION}.txt")
        else:
            stems = photos.keys() | mattes.keys()
            if len(stems) < 2:
                raise InputError(f"{folder} has {len(stems)} portraits; it takes two.")
            lists = dict(zip(LISTS, split_stems(list(stems), seed), strict=True))
        problems = _list_problems(folder, lists)
        split: dict[str, list[Portrait]] = {name: [] for name in lists}
        for name, stems in lists.items():
            for stem in stems:
                found = photos.get(stem, []), mattes.get(stem, [])
                if not found[0]:
                    problems.append(Problem(folder / "images" / stem, "the photo is missing"))
                elif len(found[0]) > 1:
                    names = " and ".join(path.name for path in found[0])
                    problems.append(Problem(found[0][0], f"{names} share one stem"))
                if not found[1]:
                    path = folder / "mattes" / f"{stem}.png"
                    problems.append(Problem(path, "the matte is missing"))
                if found[0] and found[1]:
                    split[name].append(Portrait(stem, found[0][0], found[1][0]))
        dataset = cls(folder, **split)
        manifest = DatasetManifest.load(folder)
        if manifest is not None:
            listed = dataset.portraits + dataset.validation
            paths = [path for p in listed for path in (p.photo, p.matte)]
            problems += manifest.problems(folder, paths)
        if problems:
            raise DatasetError(folder, problems)
        return dataset

    @property
    def portraits(self) -> list[Portrait]:
        """Training portraits, then test portraits."""
        return self.train + self.test

    def check_pixels(self, size: tuple[int, int] | None = None) -> None:
        """Read every photo and matte.

        Parameters
        ----------
        size : (width, height), optional
            That all photos must have.

        Raises
        ------
        DatasetError
            All that is wrong at once: unreadable files, mattes of another
            size than their photo, photos of another size than `size`.
        """
        problems = [p for each in self.portraits for p in read_portrait(each, size)[1]]
        if problems:
            raise DatasetError(self.folder, problems)
