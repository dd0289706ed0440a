"""A folder of portraits and mattes: lists, pairs, and everything wrong with them.

images/         photos, .jpg, .jpeg or .png; any other format where there is none of these
mattes/         alpha of the same stem, .png; any other format where there is no .png
train.txt       one stem a line (other forms: `data_prep.datasets.lists`)
test.txt
validation.txt  optional: neither trained nor tested on, to choose weights by
dataset.json    optional: origin and checksums (`dataset_manifest`)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from data_prep.common.images import read_matte, read_photo
from data_prep.datasets.duplicates import duplicate_problems, equal_files
from data_prep.datasets.image_folder import ImageFolder
from data_prep.datasets.lists import Entry, PortraitIndex, composed, read_entries, repetitions
from data_prep.datasets.manifest import DatasetManifest, Problem, check_finished
from data_prep.datasets.matte_checks import matte_fault
from data_prep.datasets.notes import notes_on_equal_photos, notes_on_passed_over
from data_prep.datasets.resume import problem_of

#: Formats of the photos and mattes of a dataset that is made here.  Where a folder has
#: an image of one stem in these and in others, these count.
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
MATTE_SUFFIXES = (".png",)
TRAINING_SHARE = 1700 / 2000  # of the paper's dataset
LISTS = ("train", "test")
VALIDATION = "validation"
#: Shape (H, W) of every prepared portrait, as in the paper.
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


def read_portrait(
    portrait: Portrait, shape: tuple[int, int] | None = None
) -> tuple[list[np.ndarray], list[Problem]]:
    """Read a photo and its matte, and say what is wrong with them.

    Parameters
    ----------
    portrait : Portrait
    shape : (H, W), optional
        That the photo must have.

    Returns
    -------
    images : list of ndarray
        The photo and the matte, as `read_photo` and `read_matte` give them;
        of use where there is no problem.
    problems : list of Problem
        Unreadable files, a matte of another size than its photo or one that
        `matte_fault` refuses, a photo of another shape than `shape`.
    """
    images: list[np.ndarray] = []
    problems: list[Problem] = []
    for path, read in ((portrait.photo, read_photo), (portrait.matte, read_matte)):
        try:
            images.append(read(path))
        except InputError as error:
            problems.append(problem_of(error, (path,)))
    if problems:
        return images, problems
    (height, width), (matte_height, matte_width) = (image.shape[:2] for image in images)
    if (height, width) != (matte_height, matte_width):
        reason = f"the matte is {matte_width}x{matte_height} pixels, its photo {width}x{height}"
        problems.append(Problem(portrait.matte, reason))
    if shape is not None and (height, width) != shape:
        reason = (
            f"the photo is {width}x{height} pixels; crop it and its matte to {shape[1]}x{shape[0]}"
        )
        problems.append(Problem(portrait.photo, reason))
    fault = matte_fault(images[1])
    if fault is not None:
        problems.append(Problem(portrait.matte, f"it {fault}"))
    return images, problems


def check_portraits(
    folder: Path, portraits: Sequence[Portrait], shape: tuple[int, int] | None = None
) -> None:
    """Read every photo and matte.

    Parameters
    ----------
    folder : Path
        The dataset's.
    portraits : sequence of Portrait
    shape : (H, W), optional
        That all photos must have.

    Raises
    ------
    DatasetError
        All that is wrong at once, as `read_portrait` finds it.
    """
    problems = [problem for each in portraits for problem in read_portrait(each, shape)[1]]
    if problems:
        raise DatasetError(folder, problems)


def load_portrait(portrait: Portrait) -> tuple[np.ndarray, np.ndarray]:
    """A photo and its true matte, as `read_photo` and `read_matte` give them.

    Raises
    ------
    InputError
        If `read_portrait` finds a problem; the message names the first.
    """
    images, problems = read_portrait(portrait)
    if problems:
        raise InputError(f"{problems[0].file}: {problems[0].reason}.")
    photo, matte = images
    return photo, matte


def _read_lists(
    folder: Path, index: PortraitIndex, test_only: bool
) -> tuple[dict[str, list[Entry]] | None, list[Problem]]:
    """The lists of a folder, None where it has none, and what is wrong with them.

    Raises
    ------
    InputError
        If one of train.txt and test.txt is missing (train.txt may be, where only the
        test list is wanted), or a list is no text.
    """
    paths = {name: folder / f"{name}.txt" for name in (*LISTS, VALIDATION)}
    present = [name for name in LISTS if paths[name].is_file()]
    if not present:
        return None, []
    if len(present) == 1 and not (test_only and present == ["test"]):
        raise InputError(
            f"{folder} has {present[0]}.txt only; it takes both train.txt and "
            "test.txt, or none for a random split."
        )
    lists: dict[str, list[Entry]] = {name: [] for name in LISTS}
    problems: list[Problem] = []
    for name, path in paths.items():
        if path.is_file():
            lists[name], unnamed = read_entries(path, index)
            problems += unnamed
    read = {paths[name]: entries for name, entries in lists.items() if paths[name].is_file()}
    return lists, problems + repetitions(read)


def _pair(
    photos: ImageFolder, mattes: ImageFolder, entries: Sequence[Entry]
) -> tuple[list[Portrait], list[Problem]]:
    """The portraits of a list, and those whose photo or matte is missing or not clear."""
    portraits, problems = [], []
    for _, stem in entries:
        photo, matte = photos.of(stem), mattes.of(stem)
        if not photo:
            problems.append(photos.missing(stem, stem, "the photo"))
        if not matte:
            problems.append(mattes.missing(stem, f"{stem}.png", "the matte"))
        for alike in (photo, matte):
            if len(alike) > 1:
                names = " and ".join(path.name for path in alike)
                problems.append(Problem(alike[0], f"{names} share one stem; rename one of them"))
        if photo and matte:
            portraits.append(Portrait(photo[0].stem, photo[0], matte[0]))
    return portraits, problems


@dataclass(frozen=True)
class Dataset:
    """Portraits of a folder, split in training and test.

    Attributes
    ----------
    folder : Path
    train, test : list of Portrait
    validation : list of Portrait
        Neither trained nor tested on; mostly empty.
    drawn_with : int or None
        Seed of the split; None where the folder has lists.
    notes : list of str
        What the user should know besides problems: files that are ignored,
        photos that are on one list twice.
    """

    folder: Path
    train: list[Portrait]
    test: list[Portrait]
    validation: list[Portrait] = field(default_factory=list)
    drawn_with: int | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path | str, seed: int = 0, test_only: bool = False) -> Dataset:
        """Read the lists and pair photos with mattes; pixels are not read.

        Without lists every pair of the folder is used, split by `split_stems`.
        With a manifest the listed files are compared with its checksums.

        Parameters
        ----------
        folder : path
        seed : int
            Seed of the split, where the folder has no lists.
        test_only : bool
            Whether test.txt alone is enough: nobody trains on it.

        Raises
        ------
        DatasetError
            All that is wrong at once: lines that name no portrait, missing photos
            and mattes, two photos of one stem, empty lists, stems listed twice or in
            both lists, the same photo under two names in two lists, files that are
            not those of the manifest.
        InputError
            If a folder is missing, or one of the two lists, or a list is no text, or
            the import that makes the folder was interrupted.
        """
        folder = Path(folder)
        check_finished(folder)
        for part in ("images", "mattes"):
            if not (folder / part).is_dir():
                raise InputError(
                    f"{folder / part} does not exist; a dataset has the folders images and mattes."
                )
        photos = ImageFolder(folder / "images", PHOTO_SUFFIXES)
        mattes = ImageFolder(folder / "mattes", MATTE_SUFFIXES)
        stems = {composed(stem): stem for stem in mattes.stems + photos.stems}
        places = (photos.folder, mattes.folder)
        described = f"the name of a photo or matte in {folder}"
        index = PortraitIndex(folder, places, stems.values(), described)
        lists, problems = _read_lists(folder, index, test_only)
        notes: list[str] = []
        drawn = lists is None
        if lists is None:
            if len(stems) < 2:
                raise InputError(f"{folder} has {len(stems)} portraits; it takes two.")
            sides = split_stems(list(stems.values()), seed)
            lists = {
                name: [Entry(number, stem) for number, stem in enumerate(side, start=1)]
                for name, side in zip(LISTS, sides, strict=True)
            }
            notes += notes_on_passed_over(photos.passed_over + mattes.passed_over)
        split: dict[str, list[Portrait]] = {}
        for name, entries in lists.items():
            split[name], unpaired = _pair(photos, mattes, entries)
            problems += unpaired
        dataset = cls(folder, **split, drawn_with=seed if drawn else None, notes=notes)
        groups = equal_files(dataset.side_of)
        problems += duplicate_problems(groups, dataset.side_of)
        notes += notes_on_equal_photos(groups, dataset.side_of)
        manifest = DatasetManifest.load(folder)
        if manifest is not None:
            listed = dataset.portraits + dataset.validation
            files = [path for p in listed for path in (p.photo, p.matte)]
            problems += manifest.problems(folder, files)
        if problems:
            raise DatasetError(folder, problems)
        return dataset

    def list_of(self, side: str) -> str:
        """Where a side ("train", "test", "validation") comes from, for a report."""
        if self.drawn_with is None:
            return str(self.folder / f"{side}.txt")
        return f"drawn from {self.folder} with seed {self.drawn_with}"

    @property
    def portraits(self) -> list[Portrait]:
        """Training portraits, then test portraits."""
        return self.train + self.test

    @property
    def side_of(self) -> dict[Path, str]:
        """By photo: "train", "test" or "validation"."""
        sides = {"train": self.train, "test": self.test, VALIDATION: self.validation}
        return {each.photo: name for name, side in sides.items() for each in side}

    def check_pixels(self, shape: tuple[int, int] | None = None) -> None:
        """`check_portraits` of the training and test portraits."""
        check_portraits(self.folder, self.portraits, shape)
