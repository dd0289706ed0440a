"""The rows of Table 1: where each one's trimap comes from, and what is tuned.

Classes are those of the nets: 0 foreground, 1 background, 2 unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from caffe_layers.mean_field import CrfSettings
from data_prep.common.errors import InputError
from tools.baselines.graph_cut import SeedRule

#: Where the classes of the pixels come from: a net, with or without a dense CRF after it; a
#: graph cut; the shape mask; the true matte.  "matte" is a net whose own matting layer gives the
#: matte from its probabilities, "constant" the gray one.
Source = Literal["net", "crf", "graph_cut", "shape_mask", "truth", "matte", "constant"]


@dataclass(frozen=True)
class Settings:
    """What is tuned on validation people.

    Attributes
    ----------
    width : int
        Pixels of the photo by which the unknown region is widened.
    inner_to_outer : float
        Ratio of what it takes from the foreground and from the background; the larger one is
        `width`.
    lambda_, epsilon, radius
        Of the closed-form solve (`caffe_layers.matting.solve_alpha`).
    connected : bool
        Whether parts of a graph cut without seeds are left out.
    sharpness, unknown_bias : float
        Of the scores in front of a matting layer (`tools.table.calibration`).
    crf : CrfSettings or None
    """

    width: int = 4
    inner_to_outer: float = 1.0
    lambda_: float = 100.0
    epsilon: float = 1e-7
    radius: int = 1
    connected: bool = True
    sharpness: float = 1.0
    unknown_bias: float = 0.0
    crf: CrfSettings | None = None

    @property
    def widths(self) -> tuple[int, int]:
        """Pixels by which the unknown region grows into the foreground and into the background."""
        ratio = self.inner_to_outer
        return round(self.width * min(1.0, ratio)), round(self.width * min(1.0, 1 / ratio))

    def to_json(self) -> dict[str, Any]:
        """In types that JSON holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """What `to_json` gave.

        Raises
        ------
        InputError
            If there are other fields.
        """
        try:
            crf = values["crf"]
            return cls(**{**values, "crf": None if crf is None else CrfSettings(**crf)})
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{dict(values)} are no settings of a row ({error}); tune it again."
            ) from error

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """With other values; those of the CRF are called ``crf.NAME``.

        >>> Settings(crf=CrfSettings()).changed({"width": 8, "crf.theta_beta": 5}).crf.theta_beta
        5
        """
        own = {name: value for name, value in values.items() if not name.startswith("crf.")}
        inner = {name[4:]: value for name, value in values.items() if name.startswith("crf.")}
        crf = self.crf if self.crf is None or not inner else replace(self.crf, **inner)
        return replace(self, **own, crf=crf)


@dataclass(frozen=True)
class Axis:
    """One or several settings that are tried together, while all others stay.

    Attributes
    ----------
    names : tuple of str
        As `Settings.changed` takes them.
    values : sequence of tuples
        For each trial, one value for each name.
    """

    names: tuple[str, ...]
    values: Sequence[tuple[Any, ...]]

    def trials(self, settings: Settings) -> list[Settings]:
        """The settings to compare."""
        return [settings.changed(dict(zip(self.names, each))) for each in self.values]


def _axis(name: str, *values: Any) -> Axis:
    return Axis((name,), [(value,) for value in values])


#: Before any of the other axes, and once more after them.
TRIMAP_WIDTH = _axis("width", 0, 2, 4, 8, 12, 20, 30, 50)
MASK_WIDTH = _axis("width", 3, 5, 10, 15, 20, 30, 50, 80)
SIDES = _axis("inner_to_outer", 0.5, 1.0, 2.0)
SOLVE = (
    _axis("epsilon", 1e-7, 1e-6, 1e-5),
    # From 10 on as good (0.2149 at 10, 0.2146 at 100, 0.2145 at 1000 for the shape mask alone), but
    # at 10 the solve takes half a minute.
    _axis("lambda_", 100.0, 1000.0),
    _axis("radius", 1, 2),
)
#: At 256 scores are a hard trimap: on ten validation images a warm start's errors are the same
#: there and at 1024.
SHARPNESS = _axis("sharpness", 1.0, 4.0, 16.0, 64.0, 256.0)
UNKNOWN_BIAS = _axis("unknown_bias", 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
#: The first of the weights' trials is no CRF at all.
CRF = (
    Axis(
        ("crf.bilateral_weight", "crf.spatial_weight"),
        [(0.0, 0.0), (0.2, 0.1), (0.5, 0.3), (1.5, 1.0), (5.0, 3.0), (10.0, 6.0), (20.0, 12.0)],
    ),
    _axis("crf.unknown_penalty", 0.0, 0.3, 1.0),
    _axis("crf.theta_beta", 3.0, 5.0, 10.0, 20.0),
    _axis("crf.theta_alpha", 40.0, 80.0, 160.0, 320.0),
)
FIRST_CRF = CrfSettings(
    theta_alpha=80, theta_gamma=3, bilateral_weight=0.5, spatial_weight=0.3, unknown_penalty=0.3
)
TRIMAP_AXES = (TRIMAP_WIDTH, *SOLVE, TRIMAP_WIDTH)
MASK_AXES = (MASK_WIDTH, SIDES, *SOLVE, MASK_WIDTH)
#: The solve stays that of training.  On 15 validation images epsilon 1e-6 was a little better for
#: ours (SAD 8.34e3 for 8.40e3), on all 60 it was worse (9.02e3 for 8.84e3).
MATTE_AXES = (SHARPNESS, UNKNOWN_BIAS, SHARPNESS)


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes
    ----------
    name : str
        Of files and options.
    title : str
        What tables call it.
    source : Source
    run : str or None
        The training of its net (`tools.table.runs`).
    axes : tuple of Axis
        What is tuned, in order.
    start : Settings
        Where tuning starts.
    paper : (float, float) or None
        Gradient x 1e-3 and connectivity x 1e-4 in the paper.
    seeds : SeedRule
        Of a graph cut.
    is_reference : bool
        Whether it is no method, but something to compare methods with.
    """

    name: str
    title: str
    source: Source
    run: str | None = None
    axes: tuple[Axis, ...] = ()
    start: Settings = field(default_factory=Settings)
    paper: tuple[float, float] | None = None
    seeds: SeedRule = "above_chin"
    is_reference: bool = False


_MASK = Settings(width=10)
# Snapshots are compared where such rows end, by experience: at 8 to 30 pixels.
_TRIMAP = Settings(width=12)
# "After getting the trimap, parameter-tuned closed-form matting is conducted", says the paper of
# methods that learn one; of widening it speaks where a trimap is made of a segmentation.
_NOT_WIDENED = Settings(width=0)
_CRF = replace(_TRIMAP, crf=FIRST_CRF)
_SHARP = Settings(sharpness=16.0)
_CUT_AXES = (MASK_WIDTH, _axis("connected", True, False), *MASK_AXES[1:])

ROWS = (
    Row("graph_cut", "graph cut", "graph_cut", None, _CUT_AXES, _MASK, (4.93, 7.73)),
    Row(
        "graph_cut_anywhere",
        "graph cut, background seeds from anywhere but the face",
        "graph_cut",
        None,
        _CUT_AXES,
        _MASK,
        seeds="anywhere",
    ),
    Row("portraitfcn", "PortraitFCN+", "net", "portraitfcn", MASK_AXES, _MASK, (4.61, 7.63)),
    Row("fcn", "FCN", "net", "fcn", TRIMAP_AXES, _TRIMAP, (4.14, 7.61)),
    Row("fcn_not_widened", "FCN, not widened", "net", "fcn", SOLVE, _NOT_WIDENED, (4.14, 7.61)),
    Row("deeplab", "DeepLab", "net", "deeplab", TRIMAP_AXES, _TRIMAP),
    Row(
        "deeplab_crf",
        "DeepLab and dense CRF",
        "crf",
        "deeplab",
        (TRIMAP_WIDTH, *CRF, *SOLVE, TRIMAP_WIDTH),
        _CRF,
        (3.91, 7.52),
    ),
    Row(
        "deeplab_crf_not_widened",
        "DeepLab and dense CRF, not widened",
        "crf",
        "deeplab",
        (*CRF, *SOLVE),
        replace(_NOT_WIDENED, crf=FIRST_CRF),
        (3.91, 7.52),
    ),
    Row("crfrnn", "CRF-RNN", "net", "crfrnn", TRIMAP_AXES, _TRIMAP, (3.56, 7.39)),
    Row(
        "crfrnn_not_widened",
        "CRF-RNN, not widened",
        "net",
        "crfrnn",
        SOLVE,
        _NOT_WIDENED,
        (3.56, 7.39),
    ),
    Row(
        "ours_nomask",
        "ours without shape mask",
        "matte",
        "ours_nomask",
        MATTE_AXES,
        paper=(3.11, 6.99),
    ),
    Row("ours", "ours", "matte", "ours", MATTE_AXES, paper=(3.03, 6.90)),
    Row("bound", "true trimap", "truth", None, TRIMAP_AXES, is_reference=True),
    Row("shape_mask", "shape mask alone", "shape_mask", None, MASK_AXES, _MASK, is_reference=True),
    Row("constant", "0.5 everywhere", "constant", is_reference=True),
)
#: What is chosen with the weights of a warm start for the training after it, by the name of its
#: run: the disconnected CRF whose parameters CRF-RNN starts with, and the bias of the unknown
#: scores in front of a matting layer.  Scores sharper than 16 would be a little better, and nearly
#: constant: they would pass no gradients back.
START_ROWS = {
    "crfrnn": Row(
        "crfrnn_start",
        "FCN's warm start and dense CRF",
        "crf",
        "fcn_trimap",
        (TRIMAP_WIDTH, *CRF),  # width first, or a CRF that widens the unknown region wins by that
        _CRF,
    ),
    "ours_nomask": Row(
        "ours_nomask_start", "FCN's warm start", "matte", "fcn_trimap", (UNKNOWN_BIAS,), _SHARP
    ),
    "ours": Row(
        "ours_start", "warm start with mask", "matte", "fcn_mask_trimap", (UNKNOWN_BIAS,), _SHARP
    ),
}


def chosen_rows(names: Sequence[str] | None) -> list[Row]:
    """The named rows in the order of `ROWS`; without names, all.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    known = {row.name: row for row in ROWS}
    if unknown := sorted(set(names or ()) - known.keys()):
        raise InputError(f"There is no row {unknown[0]}; there are {', '.join(known)}.")
    return [row for row in ROWS if names is None or row.name in names]
