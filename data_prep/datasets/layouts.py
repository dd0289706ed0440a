"""How public portrait collections lie on disk: which photo goes with which matte.

Each function reads names and lists, no pixels, and accounts for every file in
the folders it reads: it is in a pair or it has a problem.

`plain`
    Two folders, paired by stem; train.txt and test.txt are followed if both
    are there.
`portrait-segmentation`
    Released with Shen et al., Automatic Portrait Segmentation for Image
    Stylization (Eurographics 2016): ``crop.txt`` with lines ``name r0 r1 c0 c1``,
    ``images_mask/00001_mask.mat`` (800x600, variable `mask`, 0 or 1),
    ``alldata_urls.txt``, ``trainlist.mat`` and ``testlist.mat`` (variables
    `trainlist` and `testlist`: the numbers in the names).  The photos are
    downloaded by the user to ``images_data/00001.jpg``.  The authors' own
    script crops rows r0+1:r1 and columns c0+1:c1 of MATLAB, that is
    ``photo[r0:r1, c0:c1]`` here, and resizes to 800x600.  These masks are
    hard: they have no fractional pixels.
`aisegment`
    matting_human_half: ``clip_img/ID/clip_00000000/NAME.jpg``, 600x800, and
    ``matting/ID/matting_00000000/NAME.png``, whose alpha channel is the matte.
    The archive holds metadata files of macOS (``._...``); they are reported.
`p3m`
    P3M-10k: ``train/blurred_image`` and ``train/mask``;
    ``validation/P3M-500-P`` with ``blurred_image`` and ``mask``;
    ``validation/P3M-500-NP`` with ``original_image`` and ``mask``.  Its faces
    are blurred in training: the detector finds fewer of them.
`ppm`
    PPM-100: ``image`` and ``matte`` as its authors released it, or
    ``train/fg``, ``train/alpha``, ``val/fg``, ``val/alpha`` as PaddleSeg
    packed it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from data_prep.common.errors import InputError, printable
from data_prep.common.files import require_file
from data_prep.common.images import DECODER_ERRORS, SMALLEST_SIDE, read_alpha_channel, read_matte
from data_prep.datasets.dataset import LISTS
from data_prep.datasets.image_folder import file_fault
from data_prep.datasets.lists import PortraitIndex, composed, read_entries, read_lines, repetitions
from data_prep.datasets.manifest import Problem

#: Formats that are taken where an image of one stem has several.
COMMON_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")


@dataclass(frozen=True)
class Pair:
    """A photo and the matte that belongs to it.

    Attributes
    ----------
    stem : str
        Name in the dataset.
    photo, matte : Path
    read_matte : callable
        Reads the matte's file: path to (H, W) uint8.
    split : {"train", "test"} or None
        None where the collection has no lists.
    crop : (r0, r1, c0, c1) or None
        Rows and columns of the photo that the matte covers; None: all.
    """

    stem: str
    photo: Path
    matte: Path
    read_matte: Callable[[Path], np.ndarray] = read_matte
    split: str | None = None
    crop: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Listing:
    """All pairs of a collection, and every file that is in none."""

    pairs: list[Pair]
    problems: list[Problem]


def read_mask_mat(path: Path | str) -> np.ndarray:
    """Read the variable `mask` of a MATLAB file: 0 background, 1 foreground.

    Returns
    -------
    (H, W) uint8 ndarray
        0 to 255.

    Raises
    ------
    InputError
        If the file is missing or no MATLAB file, has no two-dimensional
        `mask`, or its values leave [0, 1].
    """
    path = Path(path)
    require_file(path)
    try:
        mask = np.asarray(loadmat(path, variable_names="mask")["mask"])
    except KeyError:
        raise InputError(f"{path} holds no variable called mask.") from None
    except (*DECODER_ERRORS, MatReadError, NotImplementedError, zlib.error, TypeError) as error:
        raise InputError(f"{path} is not a readable MATLAB file ({error}).") from error
    if mask.dtype.kind not in "biuf" or mask.ndim != 2 or min(mask.shape) < SMALLEST_SIDE:
        raise InputError(f"{path}: mask is no image, its shape is {mask.shape}.")
    values = mask.astype(np.float64)
    # Written this way round, so that NaN does not pass.
    if not (values.min() >= 0 and values.max() <= 1):
        raise InputError(f"{path}: mask has values outside 0 to 1.")
    return np.rint(255 * values).astype(np.uint8)


def _existing_folder(path: Path, source_is: str) -> Path:
    if not path.is_dir():
        raise InputError(f"{path} does not exist; SOURCE is {source_is}.")
    return path


def _image_problem(path: Path) -> str | None:
    """Why a file cannot be an image of the collection, by its name alone."""
    if fault := file_fault(path):
        return fault
    if path.stem != path.stem.strip() or len(path.stem.splitlines()) != 1:
        return "its name begins or ends with a space, or has a line break; rename it"
    if printable(path.name) != path.name:
        return "its name is no UTF-8; rename it"
    return None


def _is_uncommon(path: Path) -> bool:
    return path.suffix.lower() not in COMMON_SUFFIXES


def _images(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """Images of a folder by composed stem; what is no image, or has a stem taken."""
    found: dict[str, Path] = {}
    problems = []
    for path in sorted(sorted(folder.iterdir()), key=_is_uncommon):
        reason = _image_problem(path)
        stem = composed(path.stem)
        if reason is None and stem in found:
            reason = f"{found[stem].name} has the same stem and is taken"
        if reason is None:
            found[stem] = path
        else:
            problems.append(Problem(path, reason))
    return found, problems


def _match(
    photos: dict,
    mattes: dict,
    make_pair: Callable[[Path, Path], Pair],
    partner: str = "matte",
) -> Listing:
    """Pair photos and mattes of equal keys; the others are problems."""
    pairs = [make_pair(photos[key], mattes[key]) for key in photos if key in mattes]
    alone = [photos[key] for key in photos if key not in mattes]
    problems = [Problem(path, f"it has no {partner}") for path in alone]
    problems += [Problem(mattes[key], "it has no photo") for key in mattes if key not in photos]
    return Listing(pairs, problems)


def pair_folders(
    photos: Path, mattes: Path, split: str | None = None, partner: str = "matte"
) -> Listing:
    """Images of two folders, paired by stem.

    Parameters
    ----------
    photos, mattes : Path
    split : {"train", "test"}, optional
        Split that all pairs belong to.
    partner : str
        What a photo's counterpart is called.
    """
    photo_files, photo_problems = _images(photos)
    matte_files, matte_problems = _images(mattes)
    listing = _match(
        photo_files,
        matte_files,
        lambda photo, matte: Pair(photo.stem, photo, matte, split=split),
        partner,
    )
    return Listing(listing.pairs, photo_problems + matte_problems + listing.problems)


def _join(listings: Iterable[Listing]) -> Listing:
    """One listing of several; a stem that comes twice is taken once."""
    pairs: dict[str, Pair] = {}
    problems = []
    for listing in listings:
        problems += listing.problems
        for pair in listing.pairs:
            first = pairs.setdefault(pair.stem, pair)
            if first is not pair:
                reason = f"{first.photo} has the same stem and is taken"
                problems.append(Problem(pair.photo, reason))
    return Listing(list(pairs.values()), problems)


def list_plain(source: Path, images: str = "images", mattes: str = "mattes") -> Listing:
    """Two folders of `source`, paired by stem."""
    source_is = f"a folder that holds {images} and {mattes} (see --images and --mattes)"
    listing = pair_folders(
        _existing_folder(source / images, source_is),
        _existing_folder(source / mattes, source_is),
    )
    paths = {name: source / f"{name}.txt" for name in LISTS}
    if not all(path.is_file() for path in paths.values()):
        return listing
    places = (source / images, source / mattes)
    described = f"the name of a photo that has a matte in {source}"
    index = PortraitIndex(source, places, [pair.stem for pair in listing.pairs], described)
    problems = listing.problems
    lists = {}
    for path in paths.values():
        lists[path], unnamed = read_entries(path, index)
        problems += unnamed
    problems += repetitions(lists)
    split: dict[str, str] = {}
    for name, path in paths.items():
        for _, stem in lists[path]:
            split.setdefault(stem, name)
    pairs = []
    for pair in listing.pairs:
        if pair.stem in split:
            pairs.append(Pair(pair.stem, pair.photo, pair.matte, split=split[pair.stem]))
        else:
            problems.append(Problem(pair.photo, "it is neither in train.txt nor in test.txt"))
    return Listing(pairs, problems)


def _mat_numbers(path: Path) -> set[int]:
    """Numbers of trainlist.mat or testlist.mat; empty where the file is missing."""
    if not path.is_file():
        return set()
    try:
        return {int(number) for number in loadmat(path)[path.stem].ravel()}
    except (KeyError, NotImplementedError, MatReadError, *DECODER_ERRORS):
        raise InputError(
            f"{path} holds no list of numbers called {path.stem}; take it from the "
            "release again, or delete it for a random split."
        ) from None


def _parse_crop_line(line: str) -> tuple[str, tuple[int, int, int, int]]:
    """Name and ``r0 r1 c0 c1`` of a line of crop.txt; ValueError if it is none."""
    name, *numbers = line.split()
    r0, r1, c0, c1 = map(int, numbers)
    if not (0 <= r0 < r1 and 0 <= c0 < c1) or Path(name).name != name:
        raise ValueError(line)
    return name, (r0, r1, c0, c1)


def list_portrait_segmentation(source: Path) -> Listing:
    """The portraits of crop.txt whose photos have been downloaded."""
    crops = source / "crop.txt"
    if not crops.is_file():
        raise InputError(
            f"{crops} does not exist; SOURCE is the data folder of the release, "
            "with crop.txt, images_mask and your images_data."
        )
    masks, photos = source / "images_mask", source / "images_data"
    _existing_folder(masks, "the data folder of the release")
    addresses = source / "alldata_urls.txt"
    nowhere = {
        line.split()[0]
        for _, line in (read_lines(addresses) if addresses.is_file() else ())
        if line.split()[1:] == ["None"]
    }
    split = {number: name for name in LISTS for number in _mat_numbers(source / f"{name}list.mat")}
    pairs: dict[str, Pair] = {}
    problems = []
    named: set[Path] = set()
    for index, line in read_lines(crops):
        try:
            name, crop = _parse_crop_line(line)
        except ValueError:
            problems.append(Problem(crops, f"line {index}, '{line}', is not `name r0 r1 c0 c1`"))
            continue
        photo, matte = photos / name, masks / f"{Path(name).stem}_mask.mat"
        named |= {photo, matte}
        if not photo.is_file():
            where = (
                "the release has no address for it"
                if name in nowhere
                else "download it under this name"
            )
            problems.append(Problem(photo, f"the photo is missing; {where}"))
        elif not matte.is_file():
            problems.append(Problem(matte, "the mask is missing"))
        elif photo.stem in pairs:
            problems.append(Problem(crops, f"line {index}, '{line}', names a photo again"))
        else:
            part = split.get(int(photo.stem)) if photo.stem.isdecimal() else None
            pairs[photo.stem] = Pair(photo.stem, photo, matte, read_mask_mat, part, crop)
    for folder in filter(Path.is_dir, (photos, masks)):
        unnamed = [path for path in sorted(folder.iterdir()) if path not in named]
        problems += [Problem(path, "crop.txt does not name it") for path in unnamed]
    return Listing(list(pairs.values()), problems)


def _clips(folder: Path, prefix: str) -> tuple[dict[tuple, Path], list[Problem]]:
    """Images at ID/PREFIXnumber/name, by (ID, number, stem)."""
    found, problems = {}, []
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        parts = path.relative_to(folder).parts
        reason = _image_problem(path)
        if reason is None and not (len(parts) == 3 and parts[1].startswith(prefix)):
            reason = f"not at ID/{prefix}NUMBER/name"
        if reason is not None:
            problems.append(Problem(path, reason))
            continue
        key = (parts[0], parts[1].removeprefix(prefix), path.stem)
        if key in found:
            problems.append(Problem(path, f"{found[key].name} has the same stem and is taken"))
        found.setdefault(key, path)
    return found, problems


def list_aisegment(source: Path) -> Listing:
    """clip_img and matting of `source` or of its folder matting_human_half."""
    nested = source / "matting_human_half"
    root = nested if nested.is_dir() else source
    source_is = "the folder that holds clip_img and matting"
    clips, clip_problems = _clips(_existing_folder(root / "clip_img", source_is), "clip_")
    mattings, matting_problems = _clips(_existing_folder(root / "matting", source_is), "matting_")
    listing = _match(
        clips, mattings, lambda clip, matting: Pair(clip.stem, clip, matting, read_alpha_channel)
    )
    problems = clip_problems + matting_problems + listing.problems
    return _join([Listing(listing.pairs, problems)])


def _present_folders(
    source: Path, folders: Sequence[tuple[str, str, str | None]], source_is: str
) -> Listing:
    """Join the folder pairs (photos, mattes, split) that are there."""
    present = [
        (source / photos, source / mattes, split)
        for photos, mattes, split in folders
        if (source / photos).is_dir() or (source / mattes).is_dir()
    ]
    if not present:
        raise InputError(f"{source / folders[0][0]} does not exist; SOURCE is {source_is}.")
    for photos, mattes, _ in present:
        _existing_folder(photos, source_is)
        _existing_folder(mattes, source_is)
    return _join(pair_folders(*each) for each in present)


def list_p3m(source: Path) -> Listing:
    """Training and both validation sets of P3M-10k, as far as they are there."""
    np_folder, p_folder = "validation/P3M-500-NP", "validation/P3M-500-P"
    folders = [
        ("train/blurred_image", "train/mask", "train"),
        (f"{p_folder}/blurred_image", f"{p_folder}/mask", "test"),
        (f"{np_folder}/original_image", f"{np_folder}/mask", "test"),
    ]
    return _present_folders(source, folders, "the folder P3M-10k with train and validation")


def list_ppm(source: Path) -> Listing:
    """PPM-100 as released, or as packed by PaddleSeg."""
    folders = [
        ("image", "matte", None),
        ("train/fg", "train/alpha", "train"),
        ("val/fg", "val/alpha", "test"),
    ]
    return _present_folders(source, folders, "the folder PPM-100 with image and matte")


LAYOUTS: dict[str, Callable[..., Listing]] = {
    "plain": list_plain,
    "portrait-segmentation": list_portrait_segmentation,
    "aisegment": list_aisegment,
    "p3m": list_p3m,
    "ppm": list_ppm,
}
