"""What databases, shape mask and p(alpha) are made from, as their manifests note it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from data_prep.caffe_data.alpha_distribution import ALPHA_DISTRIBUTION_VERSION
from data_prep.caffe_data.augmentation import Augmentation
from data_prep.caffe_data.caffe_lmdb import read_manifest, scratch_path
from data_prep.caffe_data.databases import SPLITS, database_paths
from data_prep.caffe_data.records import RECORDS_VERSION
from data_prep.caffe_data.shape_mask import SHAPE_MASK_VERSION
from data_prep.caffe_data.survey import SURVEY_VERSION
from data_prep.common.assets import ASSETS
from data_prep.common.digests import content_key, sha256_of
from data_prep.datasets.dataset import Dataset

# Up to commit 64d2747 "code", digests of modules, stood where "versions" are now.  This is
# the `content_key` of those of that commit, which made what the first versions make.
FIRST_CODE = "d444518364dc92173e3988395c8d7c13892606606a4d1e42984f2664b32ae0ba"
FIRST_VERSIONS = {"survey": 1, "alpha_distribution": 1, "shape_mask": 1, "records": 1}


def describe_sources(
    dataset: Dataset, augmentations: Sequence[Augmentation], vary: bool, seed: int
) -> dict:
    """What the outputs depend on: options, lists, file contents, versions, model."""
    return {
        "seed": seed,
        "augmentations": [asdict(augmentation) for augmentation in augmentations],
        "vary": vary,
        "train": [portrait.stem for portrait in dataset.train],
        "test": [portrait.stem for portrait in dataset.test],
        "files": {
            path.relative_to(dataset.folder).as_posix(): sha256_of(path)
            for portrait in tqdm(dataset.portraits, "checksums", leave=False)
            for path in (portrait.photo, portrait.matte)
        },
        "versions": {
            "survey": SURVEY_VERSION,
            "alpha_distribution": ALPHA_DISTRIBUTION_VERSION,
            "shape_mask": SHAPE_MASK_VERSION,
            "records": RECORDS_VERSION,
        },
        "landmark_model": ASSETS["landmark-model"].sha256,
    }


def with_versions(sources: dict) -> dict:
    """Noted sources as `describe_sources` writes them, also where they note digests of code."""
    if "code" not in sources or content_key(sources["code"]) != FIRST_CODE:
        return sources
    others = {name: value for name, value in sources.items() if name != "code"}
    return {**others, "versions": FIRST_VERSIONS}


def database_sources(database: Path) -> dict | None:
    """What a database, finished or not, says inside that it was made from; None if nothing."""
    return read_manifest(database).get("built_from", {}).get("sources")


def _noted(out: Path) -> Iterator[dict]:
    """All sources that the manifests of a folder note."""
    yield read_manifest(out).get("sources", {})
    for split in SPLITS:
        for database in database_paths(out, split):
            yield database_sources(database) or {}
            yield database_sources(scratch_path(database)) or {}


def in_noted_form(out: Path, sources: dict) -> dict:
    """Sources in the form in which a folder that was made from the same ones notes them.

    What is in the folder then counts as done, whether it notes versions or digests of code.
    """
    return next((noted for noted in _noted(out) if with_versions(noted) == sources), sources)
