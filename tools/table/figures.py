"""Pictures like those of the paper: methods side by side on photos that a printed rule chooses.

Fig. 4 compares trimaps at hair, Fig. 6 the mattes of all methods, Fig. 7 the net with and without
the shape mask.  A method is called by the name of its row in Table 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from tools.evaluation.trimaps import classes_of_matte
from tools.outputs.sheets import TRIMAP_GRAYS, captioned, paragraph, stacked

#: Side of the square that Fig. 4 shows, in pixels of the photo.
CROP_SIDE = 240

Kind = Literal["photo", "matte", "trimap", "true matte", "true trimap", "shape mask"]


@dataclass(frozen=True)
class FigureColumn:
    """One column of a figure.

    Attributes
    ----------
    title : str
    kind : Kind
    row : str
        The method whose matte or trimap it shows; empty for what is no method's.
    """

    title: str
    kind: Kind
    row: str = ""


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper and how its photos are chosen.

    Attributes
    ----------
    columns : tuple of FigureColumn
    judged, reference : str
        The rows whose errors choose the photos.
    height : int
        Of a tile, in pixels.
    quantiles : tuple of float
        Which photos are shown besides those of largest gain and loss, by the judged row's
        errors.
    at_hair : bool
        Whether a square of `CROP_SIDE` pixels is shown in place of the whole photo.
    """

    columns: tuple[FigureColumn, ...]
    judged: str
    reference: str
    height: int
    quantiles: tuple[float, ...] = (0.5, 0.9)
    at_hair: bool = False

    @property
    def rows(self) -> list[str]:
        """The methods it shows."""
        return list(dict.fromkeys(each.row for each in self.columns if each.row))


_PHOTO, _TRUTH = FigureColumn("photo", "photo"), FigureColumn("true matte", "true matte")
#: By the number that the paper gives to what they resemble.
FIGURES = {
    "fig4": PaperFigure(
        (
            _PHOTO,
            FigureColumn("trimap, learned directly", "trimap", "fcn"),
            FigureColumn("trimap, end to end", "trimap", "ours_nomask"),
            FigureColumn("true trimap", "true trimap"),
            FigureColumn("matte, learned directly", "matte", "fcn"),
            FigureColumn("matte, end to end", "matte", "ours_nomask"),
            _TRUTH,
        ),
        judged="ours_nomask",
        reference="fcn",
        height=CROP_SIDE,
        at_hair=True,
    ),
    "fig6": PaperFigure(
        (
            _PHOTO,
            FigureColumn("graph cut", "matte", "graph_cut"),
            FigureColumn("trimap of FCN", "trimap", "fcn"),
            FigureColumn("FCN", "matte", "fcn"),
            FigureColumn("PortraitFCN+", "matte", "portraitfcn"),
            FigureColumn("DeepLab, dense CRF", "matte", "deeplab_crf"),
            FigureColumn("CRF-RNN", "matte", "crfrnn"),
            FigureColumn("ours", "matte", "ours"),
            _TRUTH,
        ),
        judged="ours",
        reference="fcn",
        height=248,
    ),
    "fig7": PaperFigure(
        (
            _PHOTO,
            FigureColumn("shape mask", "shape mask"),
            FigureColumn("without shape mask", "matte", "ours_nomask"),
            FigureColumn("with shape mask", "matte", "ours"),
            _TRUTH,
        ),
        judged="ours",
        reference="ours_nomask",
        height=320,
        quantiles=(),
    ),
}


# --- which photos ---------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """A photo that is shown, and the reason.

    Attributes
    ----------
    name, reason : str
    """

    name: str
    reason: str


def choose_photos(
    judged: Mapping[str, float],
    reference: Mapping[str, float],
    people: Mapping[str, Hashable],
    quantiles: Sequence[float] = (0.5, 0.9),
) -> list[Choice]:
    """Photos between the ordinary and the extreme, each of another person.

    The photo on which the judged method gains the most over the reference is chosen first, then
    that on which it loses the most, then those nearest to quantiles of its own errors.  Where
    it gains or loses nothing anywhere, there is no such photo.

    Parameters
    ----------
    judged, reference : mapping of str to float
        Errors of two methods by the photos' names; photos that both have count.
    people : mapping
        Who is on a photo.
    quantiles : sequence of float
        In [0, 1].

    Returns
    -------
    list of Choice
        Quantiles first; fewer where there are too few people.
    """
    names = sorted(judged.keys() & reference.keys(), key=lambda name: (judged[name], name))
    gains = {name: reference[name] - judged[name] for name in names}
    used: set[Hashable] = set()

    def first_of_new_person(candidates: Iterable[str]) -> str | None:
        for name in candidates:
            if people[name] not in used:
                used.add(people[name])
                return name
        return None

    extremes, ordinary = [], []
    by_gain = sorted(names, key=lambda name: gains[name])
    for reason, candidates in (
        ("largest gain", [name for name in reversed(by_gain) if gains[name] > 0]),
        ("largest loss", [name for name in by_gain if gains[name] < 0]),
    ):
        if name := first_of_new_person(candidates):
            extremes.append(Choice(name, reason))
    for quantile in quantiles:
        place = quantile * (len(names) - 1)
        nearest = sorted(range(len(names)), key=lambda rank: (abs(rank - place), rank))
        if name := first_of_new_person(names[rank] for rank in nearest):
            ordinary.append(Choice(name, quantile_name(quantile)))
    return ordinary + extremes


def quantile_name(quantile: float) -> str:
    """What a quantile is called.

    >>> quantile_name(0.5), quantile_name(0.9)
    ('median', '90th percentile')
    """
    return "median" if quantile == 0.5 else f"{100 * quantile:g}th percentile"


def rule_of(
    figure: PaperFigure, measure: str, photos: int, titles: Mapping[str, str] | None = None
) -> str:
    """The sentence under a figure: how `choose_photos` chose.

    Parameters
    ----------
    figure : PaperFigure
    measure : str
        What the errors are called.
    photos : int
        From how many they were chosen.
    titles : mapping, optional
        What rows are called; else their names.
    """
    judged, reference = ((titles or {}).get(row, row) for row in (figure.judged, figure.reference))
    parts = [f"{quantile_name(each)} of {judged}" for each in figure.quantiles]
    parts.append(f"largest gain and, if there is any, loss of {judged} over {reference}")
    crop = ""
    if figure.at_hair:
        crop = f" Shown is the square of {CROP_SIDE} pixels with the most fractional true pixels."
    return (
        f"Chosen from {photos} photos by {measure}: {', '.join(parts)}; one photo a person, "
        f"gain and loss first.{crop}"
    )


# --- drawing --------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownPhoto:
    """A photo of a figure, and what methods make of it.

    Attributes
    ----------
    caption : str
    photo : (H, W, 3) uint8 ndarray
        BGR.
    truth : (H, W) ndarray
        The true matte, in [0, 1].
    mattes : mapping of str to (H, W) ndarray
        In [0, 1], by row.
    trimaps : mapping of str to (H, W) uint8 ndarray
        Gray levels, as `tools.outputs.sheets.render_trimap` gives them, by row.
    shape_mask : (H, W) ndarray or None
        In [0, 1], aligned with the face.
    """

    caption: str
    photo: np.ndarray
    truth: np.ndarray
    mattes: Mapping[str, np.ndarray] = field(default_factory=dict)
    trimaps: Mapping[str, np.ndarray] = field(default_factory=dict)
    shape_mask: np.ndarray | None = None

    def picture(self, column: FigureColumn) -> np.ndarray | None:
        """What a column shows: (H, W) or (H, W, 3) uint8; None where it is not there."""
        if column.kind == "photo":
            return self.photo
        if column.kind == "true trimap":
            return TRIMAP_GRAYS[classes_of_matte(self.truth)]
        if column.kind == "trimap":
            return self.trimaps.get(column.row)
        shares = {"true matte": self.truth, "shape mask": self.shape_mask}
        share = self.mattes.get(column.row) if column.kind == "matte" else shares[column.kind]
        return None if share is None else np.rint(255 * share).astype(np.uint8)


def densest_square(truth: np.ndarray, side: int) -> tuple[slice, slice]:
    """Rows and columns of the square with the most fractional pixels of a true matte.

    Parameters
    ----------
    truth : (H, W) ndarray
        In [0, 1].
    side : int
        Pixels; cut to the matte's own.

    Returns
    -------
    rows, columns : slice
        Of equally dense squares the first from the top left.
    """
    side = min(side, *truth.shape)
    fractional = ((truth > 0) & (truth < 1)).astype(np.uint8)
    sums = cv2.integral(fractional)
    counts = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(np.argmax(counts), counts.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def draw_figure(figure: PaperFigure, photos: Sequence[ShownPhoto], rule: str) -> np.ndarray:
    """Draw a figure: a strip of tiles for each photo, and the rule of their choice below.

    Parameters
    ----------
    figure : PaperFigure
        Columns that no photo has, such as those of a method that was not measured, are left out.
    photos : sequence of ShownPhoto
        At least one.
    rule : str

    Returns
    -------
    (h, w, 3) uint8 ndarray
        BGR.
    """
    columns = [
        column
        for column in figure.columns
        if any(photo.picture(column) is not None for photo in photos)
    ]
    strips = []
    for photo in photos:
        region = densest_square(photo.truth, CROP_SIDE) if figure.at_hair else np.s_[:, :]
        height, width = photo.truth[region].shape
        shape = figure.height, max(1, round(width * figure.height / height))
        tiles = [(column.title, _tile(photo.picture(column), region, shape)) for column in columns]
        strip = captioned(tiles, len(tiles))
        strips += [paragraph(photo.caption, strip.shape[1]), strip]
    below = paragraph(rule, max(strip.shape[1] for strip in strips))
    return stacked([*strips, below])


def _tile(
    picture: np.ndarray | None, region: tuple[slice, slice], shape: tuple[int, int]
) -> np.ndarray:
    """A part of a picture at (H, W), in three channels; white where there is none."""
    if picture is None:
        return np.full((*shape, 3), 255, np.uint8)
    part = picture[region]
    if part.shape[:2] != shape:
        part = cv2.resize(part, shape[::-1], interpolation=cv2.INTER_AREA)
    return part if part.ndim == 3 else np.repeat(part[:, :, None], 3, axis=2)
