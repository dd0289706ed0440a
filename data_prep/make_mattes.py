"""Mattes from labeled trimaps, the better of two methods chosen by a person.

    python -m data_prep.make_mattes IMAGES TRIMAPS --out FOLDER
    # open FOLDER/choose.html, choose, save choices.json
    python -m data_prep.make_mattes --apply choices.json --out FOLDER

The paper's labeling procedure (section 5): closed-form matting and KNN
matting of each photo and its labeled trimap, both laid over a background; the
better one is taken, or neither.

A trimap has the photo's stem and size and is 0 (background), 128 (unknown) and
255 (foreground), each within `TRIMAP_TOLERANCE`; other values are refused.
Labeled pixels keep their label exactly.

The first command writes FOLDER/candidates and FOLDER/choose.html, which needs
no network; run again, it redoes only what has changed.  The second makes
FOLDER a dataset, at the photos' own sizes: `import_dataset FOLDER --format
plain` crops it to 600x800.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from caffe_layers.linear_solver import SolveError
from caffe_layers.matting import solve_alpha
from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.common.images import read_matte, read_photo, write_image
from data_prep.common.options import count, integer_from
from data_prep.common.parallel import available_workers
from data_prep.common.versions import recipe_of
from data_prep.datasets.dataset import PHOTO_SUFFIXES, split_stems, write_lists
from data_prep.datasets.layouts import pair_folders
from data_prep.datasets.manifest import DatasetManifest, Problem, rejection_lines
from data_prep.datasets.matte_checks import describe_levels, inversion_fault
from data_prep.datasets.resume import Journal, Outcome, is_done, problem_of, run_resumable

#: Version of the candidates' mattes and pictures: raise it when they change
#: (`data_prep.common.versions`).
LABELED_MATTES_VERSION = 1

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255
#: Labels this near are taken for the label: editors and JPEG move them a little.
TRIMAP_TOLERANCE = 16

CANDIDATES = "candidates"
INDEX = "candidates.json"
PAGE = "choose.html"
TEMPLATE = Path(__file__).with_name("choose_mattes.html")
PLACEHOLDER = "{{page_data}}"
DISCARD = "discard"
ORIGIN = {"format": "make_mattes"}
#: Pictures beyond this many bytes stay files beside the page.
LARGEST_EMBEDDED = 64e6


def read_trimap(path: Path) -> np.ndarray:
    """Read a labeled trimap.

    Returns
    -------
    (H, W) uint8 ndarray
        Only `BACKGROUND`, `UNKNOWN` and `FOREGROUND`.

    Raises
    ------
    InputError
        As `read_matte`, and if it has other values, lacks one of the three or is
        inverted.
    """
    gray = read_matte(path)
    trimap = np.full(gray.shape, UNKNOWN, np.uint8)
    strange = np.ones(gray.shape, bool)
    for label in (BACKGROUND, UNKNOWN, FOREGROUND):
        near = np.abs(gray.astype(int) - label) <= TRIMAP_TOLERANCE
        trimap[near] = label
        strange &= ~near
    if strange.any():
        value = Counter(gray[strange].tolist()).most_common(1)[0][0]
        raise InputError(
            f"{path} has {np.count_nonzero(strange)} pixels that are no label, most of "
            f"them {value}; a trimap is 0, 128 and 255 (within {TRIMAP_TOLERANCE})."
        )
    names = {FOREGROUND: "foreground", BACKGROUND: "background", UNKNOWN: "unknown"}
    for label, name in names.items():
        if not (trimap == label).any():
            raise InputError(
                f"{path} has no {name} pixels, its values are {describe_levels(gray)}; "
                f"label some with {label}."
            )
    if fault := inversion_fault(np.where(trimap == FOREGROUND, FOREGROUND, BACKGROUND)):
        raise InputError(f"{path} {fault}.")
    return trimap


def closed_form_alpha(photo: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Closed-form matting (Levin et al.), (H, W) float64 in [0, 1]."""
    return solve_alpha(photo, trimap == FOREGROUND, trimap == BACKGROUND)


def knn_alpha(photo: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """KNN matting (Chen et al.), (H, W) float64 in [0, 1]."""
    # Imported here: it compiles its kernels on first use.
    from pymatting import estimate_alpha_knn

    labels = np.where(trimap == UNKNOWN, 0.5, trimap / 255)
    return estimate_alpha_knn(photo[:, :, ::-1] / 255.0, labels)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "closed_form": closed_form_alpha,
    "knn": knn_alpha,
}


def make_matte(method: str, photo: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Matte of one method; labeled pixels keep their label.

    Parameters
    ----------
    method : str
        A key of `METHODS`.
    photo : (H, W, 3) uint8 ndarray
        BGR.
    trimap : (H, W) uint8 ndarray
        As `read_trimap` gives it.

    Returns
    -------
    (H, W) uint8 ndarray
    """
    matte = np.rint(255 * METHODS[method](photo, trimap)).astype(np.uint8)
    return np.where(trimap == UNKNOWN, matte, trimap)


def gradient_background(frame: tuple[int, int]) -> np.ndarray:
    """Teal to orange along the diagonal: hair of any color stands out somewhere.

    Parameters
    ----------
    frame : (H, W)

    Returns
    -------
    (H, W, 3) uint8 ndarray
        BGR.
    """
    rows, columns = np.ogrid[0 : 1 : frame[0] * 1j, 0 : 1 : frame[1] * 1j]
    share = ((rows + columns) / 2)[:, :, None]
    return np.rint(share * (40, 140, 250) + (1 - share) * (140, 130, 20)).astype(np.uint8)


def fit_background(image: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """The middle of an image, scaled to just cover a frame (H, W)."""
    height, width = frame
    scale = max(height / image.shape[0], width / image.shape[1])
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    covering = cv2.resize(image, size, interpolation=interpolation)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return covering[top : top + height, left : left + width]


def composite(photo: np.ndarray, matte: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The person over another background (eq. 1), with the person's own colors.

    Parameters
    ----------
    photo, background : (H, W, 3) uint8 ndarray
    matte : (H, W) uint8 ndarray

    Returns
    -------
    (H, W, 3) uint8 ndarray
    """
    from pymatting import estimate_foreground_ml

    alpha = matte / 255.0
    # With the photo's colors the old background would shine through the hair.
    colors = np.clip(estimate_foreground_ml(photo / 255.0, alpha), 0, 1)
    colors[matte == 255] = photo[matte == 255] / 255.0  # smoothed a little otherwise
    share = alpha[:, :, None]
    return np.rint(share * 255 * colors + (1 - share) * background).astype(np.uint8)


@dataclass(frozen=True)
class Task:
    """One photo and trimap.

    Attributes
    ----------
    stem : str
    photo, trimap : Path
    background : Path or None
        None: `gradient_background`.
    folder : Path
        Folder of the candidates.
    recipe : str
        Stands for the code, the method and the background.
    known : dict or None
        The record of an earlier run.
    """

    stem: str
    photo: Path
    trimap: Path
    background: Path | None
    folder: Path
    recipe: str
    known: dict | None


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as scratch:
        shutil.copyfile(source, scratch)


def make_candidates(task: Task) -> Outcome:
    """Both mattes of a photo and their composites, unless that has been done.

    Raises
    ------
    InputError
        If they cannot be written.
    """
    try:
        inputs = {"photo": sha256_of(task.photo), "trimap": sha256_of(task.trimap)}
        key = content_key(task.recipe, inputs)
        if is_done(task.known, key, task.folder):
            return Outcome(task.known)
        photo, trimap = read_photo(task.photo), read_trimap(task.trimap)
        if photo.shape[:2] != trimap.shape:
            raise InputError(
                f"{task.trimap} is {trimap.shape[1]}x{trimap.shape[0]} pixels, its photo "
                f"{photo.shape[1]}x{photo.shape[0]}; give both the same size"
            )
        mattes = {method: make_matte(method, photo, trimap) for method in METHODS}
    except (InputError, OSError) as error:
        return Outcome(problem=problem_of(error, (task.trimap, task.photo)))
    except (SolveError, ValueError) as error:  # ValueError: KNN did not converge
        reason = f"its matte could not be solved ({error}); label more pixels"
        return Outcome(problem=Problem(task.trimap, reason))
    frame = photo.shape[:2]
    if task.background is None:
        background = gradient_background(frame)
    else:
        background = fit_background(read_photo(task.background), frame)
    suffix = task.photo.suffix.lower()
    names = {"photo": f"photos/{task.stem}{suffix if suffix in PHOTO_SUFFIXES else '.png'}"}
    previews = {"photo": f"previews/{task.stem}.photo.jpg"}
    if suffix in PHOTO_SUFFIXES:
        _copy(task.photo, task.folder / names["photo"])
    else:
        write_image(task.folder / names["photo"], photo)
    write_image(task.folder / previews["photo"], photo)
    for method, matte in mattes.items():
        names[method] = f"{method}/{task.stem}.png"
        previews[method] = f"previews/{task.stem}.{method}.jpg"
        write_image(task.folder / names[method], matte)
        write_image(task.folder / previews[method], composite(photo, matte, background))
    written = [*names.values(), *previews.values()]
    record = {
        "stem": task.stem,
        "key": key,
        "inputs": inputs,
        "names": names,
        "previews": previews,
        "files": {name: sha256_of(task.folder / name) for name in written},
    }
    return Outcome(record, new=True)


def page_data(records: Sequence[dict], folder: Path) -> dict:
    """What the page shows: by portrait, addresses of its three pictures.

    Parameters
    ----------
    records : sequence of dict
        What `make_candidates` returned.
    folder : Path
        Folder of the candidates, where the page is.

    Returns
    -------
    dict
        Pictures are data URIs, or paths relative to the page where all of
        them together exceed `LARGEST_EMBEDDED`.
    """
    names = [name for record in records for name in record["previews"].values()]
    embed = sum((folder / name).stat().st_size for name in names) <= LARGEST_EMBEDDED

    def address(name: str) -> str:
        if not embed:
            return quote(f"{folder.name}/{name}")
        return f"data:image/jpeg;base64,{base64.b64encode((folder / name).read_bytes()).decode()}"

    return {
        "methods": list(METHODS),
        "discard": DISCARD,
        "portraits": [
            {
                "stem": record["stem"],
                "candidates": record["key"],
                "pictures": {part: address(name) for part, name in record["previews"].items()},
            }
            for record in records
        ],
    }


def render_page(data: dict) -> str:
    """The page where a person chooses, with its data inside."""
    # "</" would end the script element.
    text = json.dumps(data).replace("</", "<\\/")
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACEHOLDER, text)


def _read_index(folder: Path) -> dict | None:
    """Records and rejected files of an earlier run; None where there was none."""
    try:
        return json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def prepare_choice(
    images: Path, trimaps: Path, out: Path, background: Path | None = None, workers: int = 1
) -> tuple[dict, int]:
    """Make all candidates and the page.

    Parameters
    ----------
    images, trimaps : Path
        Folders, paired by stem.
    out : Path
    background : Path, optional
        Image to lay the people over.
    workers : int
        Processes.

    Returns
    -------
    index : dict
        `records` and `rejected`, as written to ``candidates/candidates.json``.
    new : int
        How many portraits were not found done.

    Raises
    ------
    InputError
        If a folder is missing or `out` cannot be written.
    """
    for folder in (images, trimaps):
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; give photos, then trimaps.")
    folder = out / CANDIDATES
    for given in (images, trimaps, background):
        if given is not None and folder.resolve() in (given.resolve(), *given.resolve().parents):
            raise InputError(f"{given} lies in {folder}, which is written; choose another --out.")
    recipe = recipe_of("labeled mattes", LABELED_MATTES_VERSION)
    if background is not None:
        read_photo(background)  # so that a bad one is reported now
        recipe = content_key(recipe, sha256_of(background))
    journal = Journal(folder)
    known = {
        record["stem"]: record
        for record in [*(_read_index(folder) or {"records": []})["records"], *journal.read()]
    }
    listing = pair_folders(images, trimaps, partner="trimap")
    tasks = [
        Task(p.stem, p.photo, p.matte, background, folder, recipe, known.get(p.stem))
        for p in listing.pairs
    ]
    records, problems, new = run_resumable(
        make_candidates, tasks, journal, known.values(), workers, "mattes"
    )
    rejected = [
        {"file": f"{problem.file.parent.name}/{problem.file.name}", "reason": problem.reason}
        for problem in listing.problems + problems
    ]
    index = {"records": records, "rejected": rejected}
    with atomic_write(folder / INDEX) as scratch:
        scratch.write_text(json.dumps(index, indent=1), encoding="utf-8")
    with atomic_write(out / PAGE) as scratch:
        scratch.write_text(render_page(page_data(records, folder)), encoding="utf-8")
    journal.close()
    return index, new


def read_choices(path: Path, records: dict[str, dict]) -> dict[str, str]:
    """Choices that the page saved, checked against the candidates.

    Parameters
    ----------
    path : Path
        choices.json.
    records : dict
        Candidates by stem.

    Returns
    -------
    dict of str to str
        Method, or "discard", by stem.

    Raises
    ------
    InputError
        If the file is no such file, names a portrait or method that does not
        exist, or was saved before the mattes were made again.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; save it from {PAGE}.")
    try:
        choices = json.loads(path.read_text(encoding="utf-8"))["choices"]
        chosen = {stem: (each["method"], each["candidates"]) for stem, each in choices.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path} is not what {PAGE} saves; save it again.") from None
    for stem, (method, candidates) in chosen.items():
        if stem not in records:
            raise InputError(f"{path} chooses for {stem}, which has no candidates here.")
        if method not in (*METHODS, DISCARD):
            names = ", ".join((*METHODS, DISCARD))
            raise InputError(f"{path} chooses '{method}' for {stem}; there are {names}.")
        if candidates != records[stem]["key"]:
            raise InputError(
                f"{path} is older than the mattes of {stem}; open {PAGE} and choose again."
            )
    return {stem: method for stem, (method, _) in chosen.items()}


def apply_choices(choices_file: Path, out: Path, seed: int = 0) -> DatasetManifest:
    """Make `out` a dataset of the chosen mattes.

    Parameters
    ----------
    choices_file : Path
    out : Path
        With candidates.
    seed : int
        Seed of the split.

    Returns
    -------
    DatasetManifest
        As written to `out`, with the choices.

    Raises
    ------
    InputError
        If there are no candidates, the choices do not fit them, no matte is
        chosen, or a candidate has changed.
    """
    folder = out / CANDIDATES
    index = _read_index(folder)
    if index is None:
        raise InputError(
            f"{folder} holds no candidates; run `python -m data_prep.make_mattes IMAGES "
            f"TRIMAPS --out {out}` first."
        )
    records = {record["stem"]: record for record in index["records"]}
    choices = read_choices(choices_file, records)
    taken = {stem: method for stem, method in choices.items() if method != DISCARD}
    if not taken:
        raise InputError(f"{choices_file} chooses no matte; nothing to apply.")
    copies: dict[str, str] = {}  # path in the dataset: path in the candidates
    for stem, method in taken.items():
        names = records[stem]["names"]
        copies[f"images/{Path(names['photo']).name}"] = names["photo"]
        copies[f"mattes/{Path(names[method]).name}"] = names[method]
    undecided = [
        {"file": records[stem]["names"]["photo"], "reason": f"no choice was made in {PAGE}"}
        for stem in sorted(records.keys() - choices.keys())
    ]
    digests = {name: digest for r in records.values() for name, digest in r["files"].items()}
    for name in copies.values():
        if not (folder / name).is_file() or sha256_of(folder / name) != digests[name]:
            raise InputError(
                f"{folder / name} has changed since it was made; make the candidates again."
            )
    earlier = DatasetManifest.load(out) or DatasetManifest(origin=ORIGIN)
    journal = Journal(out)
    written = set(earlier.files).union(*(record["files"] for record in journal.read()))
    if earlier.origin != ORIGIN or (not written and (out / "images").exists()):
        raise InputError(f"{out} is a dataset of another kind; choose another --out.")
    written |= copies.keys()
    journal.start([{"files": sorted(written)}])
    for target, name in copies.items():
        _copy(folder / name, out / target)
    for name in written - copies.keys():
        (out / name).unlink(missing_ok=True)
    write_lists(out, *split_stems(list(taken), seed))
    manifest = DatasetManifest(
        origin=ORIGIN,
        files={target: digests[name] for target, name in copies.items()},
        portraits={stem: {"inputs": records[stem]["inputs"]} for stem in taken},
        rejected=index["rejected"] + undecided,
        choices=choices,
    )
    manifest.save(out)
    journal.close()
    return manifest


def _report_candidates(index: dict, new: int, out: Path) -> None:
    print(f"{len(index['records'])} portraits with candidates, {new} of them new or changed.")
    for line in rejection_lines(index["rejected"]):
        print(line)
    if not index["records"]:
        raise InputError("No matte could be made; the reasons are above.")
    print(f"Open {out / PAGE}, choose, and save choices.json.")


def _report_dataset(manifest: DatasetManifest, out: Path) -> None:
    counts = Counter(manifest.choices.values())
    chosen = ", ".join(f"{counts[name]} {name}" for name in (*METHODS, DISCARD))
    lines = [f"{out}: {len(manifest.portraits)} portraits; {chosen}."]
    print("\n".join([*lines, *rejection_lines(manifest.rejected)]))


def main(argv: list[str] | None = None) -> int:
    """Make candidates to choose from, or apply the choices."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=Path, nargs="?", help="folder of photos")
    parser.add_argument("trimaps", type=Path, nargs="?", help="folder of trimaps")
    parser.add_argument("--out", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--apply", type=Path, metavar="CHOICES", help="choices.json")
    parser.add_argument("--background", type=Path, help="image to lay the people over")
    parser.add_argument("--seed", type=integer_from(0), default=0, help="of the split")
    parser.add_argument("--workers", type=count, default=available_workers())
    options = parser.parse_args(argv)
    if options.apply is not None:
        if options.images is not None:
            raise InputError("--apply takes no folders of photos and trimaps; leave them out.")
        manifest = apply_choices(options.apply, options.out, options.seed)
        _report_dataset(manifest, options.out)
        return 0
    if options.images is None or options.trimaps is None:
        raise InputError("Give a folder of photos and one of trimaps, or --apply CHOICES.")
    index, new = prepare_choice(
        options.images, options.trimaps, options.out, options.background, options.workers
    )
    _report_candidates(index, new, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
