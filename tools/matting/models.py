"""The nets that mattes can be made with, and which one is taken by default.

Importable without Caffe, for programs that only name one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from prototxt.catalog import IS_INSTALLED, MADE_WEIGHTS, NETS, SHIPPED_WEIGHTS

#: Stands for the code of all mattes that are measured (nets, bands and solves): whoever
#: changes what they are raises it (`data_prep.common.versions`).
MATTES_VERSION = 13

#: Weight of the affinities between unknown pixels in the default model.  Measured 2026-11-29,
#: with 5 near and 1 far neighbors, on eight real portraits, SAD, MSE and gradient error: without
#: 5.90, 5.64e-3, 3.86e-3; 1e-3 5.83, 5.41, 3.84; 2e-3 5.83, 5.34, 3.86; on 18 rendered training
#: portraits 3.87, 2.32, 1.548; 3.81, 2.23, 1.539; 3.81, 2.20, 1.545.  More takes longer.
AFFINITY_WEIGHT = 1e-3
#: Number of unknown pixels up to which they are used unless they are asked for: about those of
#: a megapixel.  With a million of them the solve takes five times as long.
AFFINITY_PIXELS = 100_000

#: The checkout; in an installed package nothing but the packages is there.
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Model:
    """Where the files of a net are, and the command that makes its weights.

    Attributes
    ----------
    deploy, weights, shape_mask : Path
    command : str
    test_time_augmentation : bool
        Whether its scores are averaged over several views (`tools.matting.test_time`), and
        small people get a close-up: worth it only where the scores are good.
    second_opinion : str or None
        A segmenter that is asked too: well inside its people nothing is unknown.
    person_masks : bool
        Whether the logit of a segmenter is corrected by masks of the people that a pose
        detector finds (`tools.matting.person_masks`).
    multiclass : bool
        Whether a larger segmenter leads (`tools.matting.ensemble`).
    affinity_weight : float
        Weight of the affinities between unknown pixels (`caffe_layers.affinities`) where no
        other is asked for, in photos with up to `AFFINITY_PIXELS` of them.
    """

    deploy: Path
    weights: Path
    shape_mask: Path
    command: str
    test_time_augmentation: bool = False
    second_opinion: str | None = None
    person_masks: bool = False
    multiclass: bool = False
    affinity_weight: float = 0.0


def _model(name: str, command: str, folder: Path = MADE_WEIGHTS, **how) -> Model:
    return Model(
        NETS[name].trimap_deploy,
        folder / f"{name}.caffemodel",
        NETS[name].shape_mask(folder),
        command,
        **how,
    )


def _paper_net_command() -> str:
    """How to get the weights of the paper's net: expanded where they ship, else trained."""
    if IS_INSTALLED:
        return "python -m tools.quantize_weights expand fcn8s_half --source CHECKOUT/data/weights"
    return "make" if NETS["fcn8s_half"].packed_weights().is_file() else "make train-fcn8s-half"


def _segmenters(**how) -> Model:
    """The small segmenter and masks of people, without and with what the default adds."""
    command = "python -m tools.convert_selfie" if IS_INSTALLED else "make"
    return _model("selfie", command, test_time_augmentation=True, person_masks=True, **how)


#: The paper's net at half the photo's size, which a clone can afford to store and to run.
_PAPER_NET = _model("fcn8s_half", _paper_net_command())

MODELS = {
    "selfie": _segmenters(),
    "ensemble": _segmenters(multiclass=True, affinity_weight=AFFINITY_WEIGHT),
    "portrait": _model(
        "portrait",
        "make train-portrait",
        SHIPPED_WEIGHTS,
        test_time_augmentation=True,
        second_opinion="selfie",
    ),
    "lite": _model("lite", "make train"),
    "fcn8s": _PAPER_NET,
    "fcn8s_half": _PAPER_NET,  # by the name of its net, as trainings call it
    "fcn8s_full": _model("fcn8s", "tools/train.py fcn8s"),
}
#: Names of models that differ from those of their nets.
_RENAMED = {"fcn8s": "fcn8s_full"}
#: What every program uses by default: the best of them on real photos.
DEFAULT_MODEL = "ensemble"


def model_of_net(net: str) -> str:
    """Key of `MODELS` for the weights that a training of a net makes.

    >>> model_of_net("portrait"), model_of_net("fcn8s")
    ('portrait', 'fcn8s_full')

    Parameters
    ----------
    net : str
        A net of `tools.training.stages.RECIPES`.
    """
    return _RENAMED.get(net, net)


#: Beyond it nothing else counts in the unknown region, and then numbers have no room.
LARGEST_AFFINITY = 1e6


def affinity_weight(text: str) -> float:
    """What the option ``--nonlocal`` names: the mu of `tools.matting.session.MattingSession`.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is no number from 0 to `LARGEST_AFFINITY`.
    """
    try:
        mu = float(text)
    except ValueError:
        mu = -1.0
    if not 0 <= mu <= LARGEST_AFFINITY:
        raise argparse.ArgumentTypeError(
            f"{text} is no number from 0 to {LARGEST_AFFINITY:g}; 3e-4 is one"
        )
    return mu
