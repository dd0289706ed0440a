"""Any folder of photos with true mattes or masks.

Recognized are

- the collections that `data_prep.datasets.layouts` knows, as they lie on disk;
- a folder of photos beside a folder of their mattes or masks, by the names that are common
  (`PHOTO_FOLDERS`, `TRUTH_FOLDERS`, in any case), paired by stem; a third one, ``ignore``,
  may mark pixels that do not count;
- photos with their mattes beside them: ``NAME.jpg``, ``NAME_alpha.png`` (or ``_matte``,
  ``_mask``, ``_gt``), and perhaps ``NAME_ignore.png``.

Pixels that are white in an ignore picture do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.common.errors import InputError
from data_prep.datasets.image_folder import file_fault
from data_prep.datasets.layouts import (
    Listing,
    Pair,
    list_aisegment,
    list_p3m,
    list_portrait_segmentation,
    list_ppm,
    pair_folders,
)
from data_prep.datasets.manifest import Problem
from tools.evaluation.truths import PhotoTruth
from tools.outputs.folders import some

PHOTO_FOLDERS = (
    "images",
    "image",
    "imgs",
    "img",
    "photos",
    "photo",
    "original_image",
    "blurred_image",
    "training_images",
    "test_images",
)
TRUTH_FOLDERS = (
    "mattes",
    "matte",
    "masks",
    "mask",
    "alpha",
    "alphas",
    "gt",
    "ground_truth",
    "groundtruth",
    "labels",
)
IGNORE_FOLDER = "ignore"
TRUTH_ENDINGS = ("_alpha", "_matte", "_mask", "_gt")
IGNORE_ENDING = "_ignore"


@dataclass(frozen=True)
class PhotoFolder:
    """What a folder holds.

    Attributes
    ----------
    truths : list of PhotoTruth
        At least one.
    remark : str
        On files that are in no pair; empty if there are none.
    """

    truths: list[PhotoTruth]
    remark: str = ""

    @classmethod
    def of(cls, folder: Path) -> PhotoFolder:
        """Photos and truths of a folder, by names alone.

        Raises
        ------
        InputError
            If the folder is missing or holds no pair.
        """
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; check the name.")
        subfolders = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
        ignored: Mapping[str, Path] = {}
        if (folder / "crop.txt").is_file():
            listing = list_portrait_segmentation(folder)
        elif "clip_img" in subfolders or "matting_human_half" in subfolders:
            listing = list_aisegment(folder)
        elif "blurred_image" in _names_in(subfolders.get("train")) or _names_in(
            subfolders.get("validation")
        ) & {"p3m-500-p", "p3m-500-np"}:
            listing = list_p3m(folder)
        elif "fg" in _names_in(subfolders.get("train")) | _names_in(subfolders.get("val")):
            listing = list_ppm(folder)
        elif found := _photos_and_truths(subfolders):
            listing = pair_folders(*found, partner="matte or mask")
            if IGNORE_FOLDER in subfolders:
                ignored = {path.stem: path for path in subfolders[IGNORE_FOLDER].iterdir()}
        else:
            listing, ignored = _beside_each_other(folder)
        if not listing.pairs:
            raise InputError(
                f"{folder} holds no photos with mattes; give images/ and mattes/ (or masks/) with "
                "equal names, or NAME.jpg with NAME_alpha.png beside it."
            )
        alone = [each.file for each in listing.problems if not each.file.name.startswith(".")]
        remark = f"passed over, as they are in no pair: {some(alone)}." if alone else ""
        pairs = sorted(listing.pairs, key=lambda pair: pair.stem)
        return cls([PhotoTruth(pair, ignored.get(pair.photo.stem)) for pair in pairs], remark)


def _names_in(folder: Path | None) -> set[str]:
    return {path.name.lower() for path in folder.iterdir()} if folder else set()


def _photos_and_truths(subfolders: Mapping[str, Path]) -> tuple[Path, Path] | None:
    photos = [subfolders[name] for name in PHOTO_FOLDERS if name in subfolders]
    truths = [subfolders[name] for name in TRUTH_FOLDERS if name in subfolders]
    return (photos[0], truths[0]) if photos and truths else None


def _beside_each_other(folder: Path) -> tuple[Listing, dict[str, Path]]:
    """Pairs of files of one folder, and the ignore pictures by the photo's stem."""
    images = {path.stem: path for path in sorted(folder.iterdir()) if file_fault(path) is None}
    pairs, ignored = [], {}
    used = set()
    for stem, photo in images.items():
        truth = next((images[stem + end] for end in TRUTH_ENDINGS if stem + end in images), None)
        if truth is not None:
            pairs.append(Pair(stem, photo, truth))
            if stem + IGNORE_ENDING in images:
                ignored[stem] = images[stem + IGNORE_ENDING]
            used |= {photo, truth, ignored.get(stem)}
    alone = [path for path in images.values() if path not in used]
    return Listing(pairs, [Problem(path, "it is in no pair") for path in alone]), ignored
