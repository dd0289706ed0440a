"""Figures from mattes and trimaps that a measurement kept as pictures.

A folder holds ``ROW/mattes/PHOTO.png`` and ``ROW/trimaps/PHOTO.png`` for each method.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.common.images import read_matte, write_image
from tools.evaluation.estimates import Errors
from tools.evaluation.truths import PhotoTruth
from tools.table.figures import (
    FIGURES,
    PaperFigure,
    ShownPhoto,
    choose_photos,
    draw_figure,
    rule_of,
)
from tools.table.row_mattes import aligned_mask, view_of

logger = logging.getLogger(__name__)

#: Whose values choose the photos, and how it is called.
MEASURE, MEASURE_TITLE = "sad", "SAD"


def kept_pictures(folder: Path, kind: str, rows: Sequence[str], name: str) -> dict[str, np.ndarray]:
    """Kept mattes or trimaps of a photo, (H, W) uint8, by row; rows without one are left out.

    Parameters
    ----------
    folder : Path
    kind : {"mattes", "trimaps"}
    rows : sequence of str
    name : str
        Of the photo.
    """
    files = {row: folder / row / kind / f"{name}.png" for row in rows}
    return {row: read_matte(path) for row, path in files.items() if path.is_file()}


def shown_photos(
    figure: PaperFigure,
    folder: Path,
    truths: Sequence[PhotoTruth],
    errors: Mapping[str, Errors],
    titles: Mapping[str, str],
    shape_mask: ShapeMask,
) -> list[ShownPhoto]:
    """The photos of a figure, chosen and read; parameters are those of `write_figures`."""
    judged, reference = (
        {name: getattr(each, MEASURE) for name, each in errors[row].items()}
        for row in (figure.judged, figure.reference)
    )
    by_name = {truth.name: truth for truth in truths}
    people: dict[str, Hashable] = {truth.name: truth.who for truth in truths}
    shows_mask = any(column.kind == "shape mask" for column in figure.columns)
    found = []
    for choice in choose_photos(judged, reference, people, figure.quantiles):
        truth, name = by_name[choice.name], choice.name
        photo, mattes = truth.read_photo(), kept_pictures(folder, "mattes", figure.rows, name)
        found.append(
            ShownPhoto(
                f"{name}, {choice.reason}: {MEASURE_TITLE} {judged[name]:.2f} by "
                f"{titles[figure.judged]}, {reference[name]:.2f} by {titles[figure.reference]}",
                photo,
                truth.read_truth(),
                {row: levels / 255 for row, levels in mattes.items()},
                kept_pictures(folder, "trimaps", figure.rows, name),
                aligned_mask(shape_mask, view_of(photo)) if shows_mask else None,
            )
        )
    return found


def write_figures(
    folder: Path,
    truths: Sequence[PhotoTruth],
    errors: Mapping[str, Errors],
    titles: Mapping[str, str],
    shape_mask: ShapeMask,
    out: Path,
) -> dict[Path, str]:
    """Draw every figure whose methods were measured.

    Parameters
    ----------
    folder : Path
        With the kept mattes and trimaps.
    truths : sequence of PhotoTruth
        The photos that were measured.
    errors : mapping of str to Errors
        By row.
    titles : mapping of str to str
        What rows are called.
    shape_mask : ShapeMask
    out : Path
        Folder.

    Returns
    -------
    dict of Path to str
        The files, and the rule by which the photos of each were chosen.

    Raises
    ------
    InputError
        If a photo or a kept picture cannot be read, or a figure cannot be written.
    """
    written = {}
    for number, figure in FIGURES.items():
        if missing := [row for row in (figure.judged, figure.reference) if row not in errors]:
            logger.warning("Without %s: row %s is not measured.", number, missing[0])
            continue
        photos = shown_photos(figure, folder, truths, errors, titles, shape_mask)
        compared = errors[figure.judged].keys() & errors[figure.reference].keys()
        rule = rule_of(figure, MEASURE_TITLE, len(compared), titles)
        path = out / f"table1_{number}.jpg"
        write_image(path, draw_figure(figure, photos, rule))
        written[path] = rule
    return written
