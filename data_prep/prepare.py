"""Everything that training needs, made from a folder of portraits and mattes.

    python -m data_prep.prepare [--dataset data/sample] [--out data/prepared]

Writes to the output folder:

    train_image, train_mask, train_matte    LMDBs: 13 versions of each portrait
    test_image, test_mask, test_matte       LMDBs: the portraits as they are
    train_records.txt, test_records.txt     what lies under each key
    p_alpha.txt, p_alpha.png                p(A) of eq. 11
    shape_mask.npz, shape_mask.png          eq. 2, and how it lies on portraits
    landmarks.json                          cache, by content of the photo
    manifest.json                           what all this was made from

Only training portraits enter the shape mask and p(A).  A second run over
unchanged files does nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.alpha_distribution import (
    alpha_distribution,
    foreground_share,
    fractional_share,
    plot_alpha_distribution,
    save_alpha_distribution,
)
from data_prep.assets import ASSETS, sha256_of
from data_prep.augmentation import AUGMENTATIONS, ORIGINAL, Augmentation, Record
from data_prep.caffe_lmdb import DatumWriter, shuffled_keys
from data_prep.dataset import FRAME, Dataset, Portrait
from data_prep.errors import InputError, run_program
from data_prep.images import (
    atomic_write,
    encode_image,
    read_matte,
    read_photo,
    write_image,
)
from data_prep.landmarks import LandmarkCache
from data_prep.shape_mask import (
    NEUTRAL_MASK,
    ShapeMask,
    build_shape_mask,
    draw_alignments,
)

PICTURED = 12  # alignments in shape_mask.png

PARTS = {"image": ".jpg", "mask": ".png", "matte": ".png"}
SPLITS = ("train", "test")

Landmarks = dict[str, np.ndarray | None]  # by stem


def describe_sources(dataset: Dataset, seed: int) -> dict:
    """What the outputs depend on: options, lists, file contents, code, model."""
    code = sorted(Path(__file__).parent.glob("*.py"))
    return {
        "seed": seed,
        "train": [portrait.stem for portrait in dataset.train],
        "test": [portrait.stem for portrait in dataset.test],
        "files": {
            path.relative_to(dataset.folder).as_posix(): sha256_of(path)
            for portrait in tqdm(dataset.portraits, "checksums", leave=False)
            for path in (portrait.photo, portrait.matte)
        },
        "code": {path.name: sha256_of(path) for path in code},
        "landmark_model": ASSETS["landmark-model"].sha256,
    }


def product_paths(out: Path) -> list[Path]:
    """Every file or folder that `prepare` writes, except manifest and cache."""
    names = [f"{split}_{part}/data.mdb" for split in SPLITS for part in PARTS]
    names += [f"{split}_records.txt" for split in SPLITS]
    names += ["p_alpha.txt", "p_alpha.png", "shape_mask.npz", "shape_mask.png"]
    return [out / name for name in names]


def _sizes(out: Path) -> dict[str, int] | None:
    """Bytes of every product; None while one is missing."""
    paths = product_paths(out)
    if not all(path.is_file() for path in paths):
        return None
    return {path.relative_to(out).as_posix(): path.stat().st_size for path in paths}


def is_current(out: Path, sources: dict) -> bool:
    """Whether `out` was made from exactly these sources and is complete."""
    try:
        manifest = json.loads((out / "manifest.json").read_text())
    except (OSError, ValueError):
        return False
    return manifest.get("sources") == sources and manifest.get("products") == _sizes(out)


def find_landmarks(portraits: Sequence[Portrait], cache: LandmarkCache) -> Landmarks:
    """Landmarks of every portrait by stem, None where no face is found."""
    try:
        return {
            portrait.stem: cache.detect(portrait.photo)
            for portrait in tqdm(portraits, "landmarks", leave=False)
        }
    finally:
        cache.save()


def make_record(
    portrait: Portrait, landmarks: np.ndarray | None, shape_mask: ShapeMask
) -> Record:
    """Photo, shape mask (neutral without a face) and matte of one portrait."""
    if landmarks is None:
        mask = np.full(FRAME, NEUTRAL_MASK, np.uint8)
    else:
        mask = np.rint(255 * shape_mask.warp_to(landmarks, FRAME)).astype(np.uint8)
    return Record(read_photo(portrait.photo), mask, read_matte(portrait.matte))


def write_split(
    out: Path,
    split: str,
    portraits: Sequence[Portrait],
    augmentations: Sequence[Augmentation],
    landmarks: Landmarks,
    shape_mask: ShapeMask,
    seed: int,
) -> None:
    """Write the three aligned LMDBs of one split, and the list of their keys.

    Raises
    ------
    InputError
        If there are no portraits, or the disk is full.
    """
    keys = shuffled_keys(len(portraits) * len(augmentations), seed)
    content = {}
    with ExitStack() as stack, tqdm(total=len(keys), desc=f"{split} LMDB") as progress:
        writers = [
            (stack.enter_context(DatumWriter(out / f"{split}_{part}")), suffix)
            for part, suffix in PARTS.items()
        ]
        unused = iter(keys)
        for portrait in portraits:
            record = make_record(portrait, landmarks[portrait.stem], shape_mask)
            for augmentation in augmentations:
                key = next(unused)
                content[key] = f"{key} {portrait.stem} {augmentation.name}\n"
                changed = augmentation.apply(record)
                for (writer, suffix), image in zip(writers, changed, strict=True):
                    writer.put(key, encode_image(image, suffix))
                progress.update()
    with atomic_write(out / f"{split}_records.txt") as scratch:
        scratch.write_text("".join(content[key] for key in sorted(content)))


def picture_shape_mask(
    shape_mask: ShapeMask, portraits: Sequence[Portrait], landmarks: Landmarks, seed: int
) -> np.ndarray:
    """Mean mask beside random portraits with their warped masks, (H, W, 3) uint8."""
    shown = [portrait for portrait in portraits if landmarks[portrait.stem] is not None]
    chosen = np.random.default_rng(seed).permutation(len(shown))[:PICTURED]
    return draw_alignments(
        shape_mask,
        [(read_photo(shown[i].photo), landmarks[shown[i].stem]) for i in chosen],
    )


def prepare(dataset_folder: Path, out: Path, seed: int) -> bool:
    """Make everything in `out` from a dataset, unless it is there already.

    Parameters
    ----------
    dataset_folder, out : Path
    seed : int
        Of the split (where the dataset has no lists), the order of the records
        and the choice of pictured portraits.

    Returns
    -------
    bool
        False where everything was there already.

    Raises
    ------
    InputError
        If the dataset has problems, no training portrait shows a face, or
        something cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder.")
    dataset = Dataset.open(dataset_folder, seed)
    sources = describe_sources(dataset, seed)
    if is_current(out, sources):
        return False
    height, width = FRAME
    dataset.check_pixels(size=(width, height))

    # Without its manifest a folder counts as unfinished, whatever happens next.
    (out / "manifest.json").unlink(missing_ok=True)
    landmarks = find_landmarks(dataset.portraits, LandmarkCache(out / "landmarks.json"))
    faceless = [p.stem for p in dataset.portraits if landmarks[p.stem] is None]
    if faceless:
        print(f"No face found, shape mask neutral: {', '.join(faceless)}")

    distribution = alpha_distribution(
        read_matte(p.matte) for p in tqdm(dataset.train, "p(alpha)", leave=False)
    )
    save_alpha_distribution(out / "p_alpha.txt", distribution)
    plot_alpha_distribution(out / "p_alpha.png", distribution)

    faces = [p for p in dataset.train if landmarks[p.stem] is not None]
    shape_mask = build_shape_mask(
        (read_matte(p.matte) for p in tqdm(faces, "shape mask", leave=False)),
        [landmarks[p.stem] for p in faces],
    )
    shape_mask.save(out / "shape_mask.npz")
    picture = picture_shape_mask(shape_mask, dataset.portraits, landmarks, seed)
    write_image(out / "shape_mask.png", picture)

    versions = {"train": AUGMENTATIONS, "test": (ORIGINAL,)}
    for split in SPLITS:
        portraits = getattr(dataset, split)
        write_split(out, split, portraits, versions[split], landmarks, shape_mask, seed)

    manifest = {
        "sources": sources,
        "products": _sizes(out),
        "augmentations": [augmentation.name for augmentation in AUGMENTATIONS],
        "without_face": faceless,
        "fractional_share": fractional_share(distribution),
        "foreground_share": foreground_share(distribution),
    }
    with atomic_write(out / "manifest.json") as scratch:
        scratch.write_text(json.dumps(manifest, indent=1))
    return True


def main(argv: list[str] | None = None) -> int:
    """Prepare a dataset and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", type=Path, default=Path("data/sample"))
    parser.add_argument("--out", type=Path, default=Path("data/prepared"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    if options.seed < 0:
        raise InputError(f"--seed {options.seed} is negative; give 0 or more.")
    if not prepare(options.dataset, options.out, options.seed):
        print(f"{options.out} is up to date with {options.dataset}.")
        return 0
    manifest = json.loads((options.out / "manifest.json").read_text())
    train, test = (len(manifest["sources"][split]) for split in SPLITS)
    print(
        f"{options.out}: {train} training portraits x {len(AUGMENTATIONS)} versions, "
        f"{test} test portraits; {manifest['fractional_share']:.1%} of the pixels "
        f"fractional, {manifest['foreground_share']:.1%} foreground."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
