"""Any folder of photos with true mattes or masks, and how far mattes of them are from those.

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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from data_prep.common.pictures import read_alpha
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
from tools.evaluation.contact_sheet import SheetRow, sheet_row
from tools.evaluation.masks import MaskErrors
from tools.evaluation.metrics import evaluate, unknown_region
from tools.matting.guidance import (
    KNOWN_BLACK,
    KNOWN_WHITE,
    Guidance,
    check_shape,
)
from tools.matting.photo_view import resized
from tools.matting.session import Matte, MattingSession
from tools.outputs.folders import Companions, some

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

#: SAD is also given for a picture of this many pixels, so that sizes can be compared.
STANDARD_AREA = 600 * 800

MATTES, MASKS = "mattes", "masks"  # what is measured: soft truths, or hard ones
#: By what is measured: names, headings and units of the printed values.
PRINTED = {
    MATTES: {
        "sad_600x800": ("SAD 600x800", 1.0),
        "mse": ("MSE e-3", 1e-3),
        "dapm_gradient": ("grad e-3", 1e-3),
        "dapm_connectivity": ("conn e-4", 1e-4),
        "sad": ("SAD", 1.0),
        "rhemann_gradient": ("Grad", 1.0),
        "rhemann_connectivity": ("Conn", 1.0),
    },
    MASKS: {"iou": ("IoU", 1.0), "boundary_iou": ("boundary IoU", 1.0)},
}


@dataclass(frozen=True)
class PhotoTruth:
    """A photo of a folder, and what says which of its pixels are the person.

    Attributes
    ----------
    pair : Pair
    ignore : Path or None
        White where pixels do not count.
    """

    pair: Pair
    ignore: Path | None = None

    @property
    def name(self) -> str:
        """Stem of the photo."""
        return self.pair.stem

    def read_photo(self) -> np.ndarray:
        """The photo, (H, W, 3) uint8 BGR, cropped where its collection says so."""
        photo = read_photo(self.pair.photo)
        if self.pair.crop is None:
            return photo
        top, bottom, left, right = self.pair.crop
        return np.ascontiguousarray(photo[top:bottom, left:right])

    def read_truth(self) -> np.ndarray:
        """The true matte or mask, (H, W) float64 in [0, 1]."""
        if self.pair.matte.suffix == ".mat":
            return self.pair.read_matte(self.pair.matte) / 255.0
        return read_alpha(self.pair.matte)

    def read_region(self, truth: np.ndarray) -> np.ndarray | None:
        """Pixels of the true matte that count, (H, W) bool; None for all.

        Raises
        ------
        InputError
            If the ignore picture has another size than the truth, or leaves nothing.
        """
        if self.ignore is None:
            return None
        ignored = read_alpha(self.ignore)
        if ignored.shape != truth.shape:
            raise InputError(f"{self.ignore} has another size than {self.pair.matte}; scale it.")
        if (ignored >= 0.5).all():
            raise InputError(f"{self.ignore} leaves no pixel to count; remove {self.pair.photo}.")
        return ignored < 0.5


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


def measured_as(truths: Sequence[PhotoTruth]) -> str:
    """`MASKS` if every truth is hard, else `MATTES`; every file is read.

    Raises
    ------
    InputError
        If files cannot be read or do not fit each other: all of them are named.
    """
    faults, hard = [], True
    for each in truths:
        try:
            truth = each.read_truth()
            each.read_region(truth)
        except InputError as error:
            faults.append(str(error))
            continue
        levels = np.rint(255 * truth)
        hard &= not ((levels > KNOWN_BLACK) & (levels < KNOWN_WHITE)).any()
    if faults:
        raise InputError("\n".join(faults))
    return MASKS if hard else MATTES


@dataclass(frozen=True)
class PhotoResult:
    """The measures of one matte.

    Attributes
    ----------
    name : str
    values : dict of str to float
        By the names in `PRINTED`.
    face_found : bool
    row : SheetRow
    """

    name: str
    values: Mapping[str, float]
    face_found: bool
    row: SheetRow


#: A matte of a photo (H, W, 3) BGR: by a model, or from a file.
MatteOf = Callable[[PhotoTruth, np.ndarray], Matte]


def predicted_by(session: MattingSession) -> MatteOf:
    """Mattes by a model."""
    return lambda _, photo: session.matte(photo)


class GivenMattes:
    """Mattes of a folder, anybody's: the files of the photos' names.

    Parameters
    ----------
    folder : Path
        With ``NAME.png``, ``NAME_alpha.png`` or ``NAME_matte.png``: gray, of any depth, or
        cut-outs, whose alpha channel is taken.
    truths : sequence of PhotoTruth

    Raises
    ------
    InputError
        If a photo has none, several, an unreadable one, or one whose size is neither the
        photo's nor the truth's: all of them are named.
    """

    def __init__(self, folder: Path, truths: Sequence[PhotoTruth]) -> None:
        companions = Companions(folder, "alpha", [Path(each.name) for each in truths])
        self._files: dict[str, Path] = {}
        faults = []
        for each in truths:
            try:
                path = companions.find(Path(each.name), str(each.pair.photo))
                self._files[each.name] = path
                sizes = {each.read_photo().shape[:2], each.read_truth().shape}
                found = read_alpha(path).shape
            except InputError as error:
                faults.append(str(error))
                continue
            if found not in sizes:
                wanted = " or ".join(f"{columns}x{rows}" for rows, columns in sorted(sizes))
                faults.append(f"{path} is {found[1]}x{found[0]}; it is to be {wanted}.")
        if faults:
            raise InputError("\n".join(faults))
        self._session = MattingSession(None)

    def __call__(self, truth: PhotoTruth, photo: np.ndarray) -> Matte:
        alpha = read_alpha(self._files[truth.name])
        return self._session.matte(resized(photo, alpha.shape), alpha=alpha)


def measure_photos(
    truths: Sequence[PhotoTruth], matte_of: MatteOf, kind: str, unknown_only: bool = False
) -> Iterator[PhotoResult]:
    """Measure mattes of photos one by one.

    Parameters
    ----------
    truths : sequence of PhotoTruth
    matte_of : callable
    kind : {"mattes", "masks"}
    unknown_only : bool
        Count the unknown region of the true trimap only.

    Raises
    ------
    InputError
        If a photo cannot be read or matted, a soft truth has another size than its photo,
        a hard one another shape, or nothing is unknown where only that counts.
    """
    for each in truths:
        photo, truth = each.read_photo(), each.read_truth()
        if truth.shape != photo.shape[:2]:
            if kind == MATTES:
                raise InputError(
                    f"{each.pair.matte} has another size than {each.pair.photo}; scale one of them."
                )
            check_shape(Guidance(truth), each.pair.matte, photo.shape, each.pair.photo)
        region = each.read_region(truth)
        if unknown_only:
            unknown = unknown_region(truth)
            region = unknown if region is None else unknown & region
            if not region.any():
                raise InputError(f"{each.pair.matte} has no unknown region; use --region all.")
        matte = matte_of(each, photo)
        alpha = matte.alpha
        if alpha.shape != truth.shape:
            alpha = resized(alpha, truth.shape)
        values = values_of(kind, alpha, truth, region)
        # Where nothing counts, the sheet shows the matte for the truth, and no error.
        shown = truth if region is None else np.where(region, truth, alpha)
        row = _row(each.name, kind, values, matte, alpha, shown)
        yield PhotoResult(each.name, values, bool(matte.faces), row)


def values_of(
    kind: str, alpha: np.ndarray, truth: np.ndarray, region: np.ndarray | None
) -> dict[str, float]:
    """The measures of a matte, (H, W) in [0, 1], by the names in `PRINTED`."""
    if kind == MASKS:
        return asdict(MaskErrors.of(alpha, truth, region))
    errors = asdict(evaluate(alpha, truth, region))
    return {**errors, "sad_600x800": errors["sad"] * STANDARD_AREA / truth.size}


def _row(
    name: str,
    kind: str,
    values: Mapping[str, float],
    matte: Matte,
    alpha: np.ndarray,
    truth: np.ndarray,
) -> SheetRow:
    shown = (
        f"{heading} {values[measure] / unit:.3g}"
        for measure, (heading, unit) in PRINTED[kind].items()
    )
    badness = -values["iou"] if kind == MASKS else values["sad_600x800"]
    photo = resized(matte.photo, truth.shape)
    caption = "   ".join([name, *shown])
    return sheet_row(caption, badness, photo, matte.probabilities, alpha, truth)
