"""Where a face puts the position channels of PortraitFCN+, and the databases of it.

Shen et al. (2016): x and y of every pixel, 0 at the center of the face, by an affine map from
the photo's inner landmarks to those of a canonical face; here the template of the shape mask.
`caffe_layers.position` makes the channels of the six numbers of that map.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from data_prep.caffe_data.alignment import transform_points
from data_prep.caffe_data.augmentation import Augmentation
from data_prep.caffe_data.caffe_lmdb import DatumWriter, datum_of_numbers
from data_prep.caffe_data.databases import SPLITS
from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.caffe_data.survey import SurveyCache
from data_prep.caffe_data.variation import Variation, variation_of
from data_prep.common.digests import content_key
from data_prep.common.errors import InputError
from data_prep.common.landmark_scheme import LANDMARK_COUNT, MIRRORED
from data_prep.datasets.dataset import FRAME

#: Version of the maps: raise it when they change (`data_prep.common.versions`).
POSITION_VERSION = 1

# All but the outline of the face and the corners of the inner mouth: 49 points.
INNER = [k for k in range(17, LANDMARK_COUNT) if k not in (60, 64)]


def position_map(landmarks: np.ndarray | None, template: np.ndarray) -> np.ndarray:
    """The affine map from a photo's pixels to positions relative to its face.

    Parameters
    ----------
    landmarks : (68, 2) ndarray or None
        x and y in pixels; None where no face was found.
    template : (68, 2) ndarray
        Landmarks of the mean face, in the frame of the portraits.

    Returns
    -------
    (2, 3) float64 ndarray
        Rows of x and y, to be multiplied by (x, y, 1) of a pixel: in widths and heights of the
        template's frame, 0 at the center of its face.  Zeros without a face.
    """
    if landmarks is None:
        return np.zeros((2, 3))
    source = np.column_stack([landmarks[INNER], np.ones(len(INNER))])
    target = template[INNER] - template[INNER].mean(axis=0)
    affine = np.linalg.lstsq(source, target, rcond=None)[0].T
    return affine / [[FRAME[1]], [FRAME[0]]]


def changed_landmarks(
    landmarks: np.ndarray, augmentation: Augmentation, variation: Variation | None
) -> np.ndarray:
    """Landmarks of a version of a portrait.

    Parameters
    ----------
    landmarks : (68, 2) ndarray
        Of the portrait as it is.
    augmentation : Augmentation
    variation : Variation or None
        In a mirrored version the landmarks of left and right change places, as a detector would
        find them: a mirrored map would have x of the wrong sign.
    """
    height, width = FRAME
    matrix = np.vstack([augmentation.matrix(FRAME), [0, 0, 1]])
    points = transform_points(matrix, landmarks)
    if variation is None:
        return points
    if variation.mirrored:
        points = points[MIRRORED] * [-1, 1] + [width - 1, 0]
    return points + variation.shift_in_pixels(width, height)


def _landmarks_by_stem(out: Path, sources: Mapping) -> dict[str, np.ndarray | None]:
    """Landmarks of all portraits that databases were made from, as their survey noted them."""
    cache = SurveyCache(out / "survey.txt")
    digests = list(sources["files"].values())  # photo and matte of each portrait in turn
    found = {}
    for stem, photo, matte in zip(
        [*sources["train"], *sources["test"]], digests[::2], digests[1::2], strict=True
    ):
        survey = cache.get(f"{photo}-{matte}")
        if survey is None:
            raise InputError(
                f"{out}/survey.txt knows nothing of {stem}; write the databases again with "
                "`python -m data_prep.prepare`."
            )
        found[stem] = survey.landmarks
    return found


def _maps_by_key(out: Path, split: str, sources: Mapping) -> Iterator[tuple[str, np.ndarray]]:
    """Key and map of every record of a split."""
    template = ShapeMask.load(out / "shape_mask.npz").template
    landmarks = _landmarks_by_stem(out, sources)
    names = [field.name for field in fields(Augmentation)]
    versions = {
        each["name"]: Augmentation(**{name: each[name] for name in names})
        for each in sources["augmentations"]
    }
    vary = sources["vary"] and split == "train"
    for line in (out / f"{split}_records.txt").read_text().splitlines():
        key, name = line.split(" ", 1)
        stem, version = name.rsplit(" ", 1)
        points = landmarks[stem]
        if points is not None:
            variation = variation_of(stem, version) if vary else None
            augmentation = versions.get(version, Augmentation(version))
            points = changed_landmarks(points, augmentation, variation)
        yield key, position_map(points, template)


def write_positions(out: Path) -> list[Path]:
    """Write the databases ``train_position`` and ``test_position`` beside those of `prepare`.

    Each record is a Datum of six floats under the key of the image that it belongs to.

    Parameters
    ----------
    out : Path
        A folder that `data_prep.prepare` finished.

    Returns
    -------
    list of Path
        The databases.

    Raises
    ------
    InputError
        If the folder is not finished, or something cannot be written.
    """
    try:
        manifest = json.loads((out / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{out} is no finished folder of databases ({error}); write one with "
            "`python -m data_prep.prepare`."
        ) from error
    built_from = {"position": POSITION_VERSION, "manifest": content_key(manifest)}
    paths = [out / f"{split}_position" for split in SPLITS]
    for split, path in zip(SPLITS, paths, strict=True):
        with DatumWriter(path, built_from, manifest["records"][split]) as writer:
            for key, numbers in _maps_by_key(out, split, manifest["sources"]):
                writer.put_value(key, datum_of_numbers(numbers.ravel()))
            writer.finish()
    return paths
