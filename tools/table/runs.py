"""Trainings of Table 1: which net, from which weights, against which loss.

Every learned row has a warm start of W iterations and goes on for E more: with its own loss,
from weights that have seen the same portraits in the same order.

    fcn_trimap          FCN, loss of the trimap, from VGG-16       -> fcn, crfrnn, ours_nomask
    fcn_mask_trimap     the same with the shape mask               -> ours
    deeplab_trimap      DeepLab-LargeFOV                           -> deeplab
    portraitfcn_trimap  PortraitFCN+, loss of two classes          -> portraitfcn
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.common.errors import InputError
from prototxt.catalog import MADE_WEIGHTS, NETS, Net
from tools.matting.models import ROOT
from tools.training.selection import PORTRAIT_SET
from tools.training.stages import databases


@dataclass(frozen=True)
class Run:
    """One training by `caffe train`.

    Attributes
    ----------
    name : str
        Of its folder and snapshots.
    net : str
        A key of `Family.nets`.
    after : str or None
        The run whose last weights it starts from; None for a warm start.
    end_to_end : bool
        Whether its loss is that of the matte, through the matting layer.
    learned_crf : bool
        Whether the net has a CRF that is trained with it.
    """

    name: str
    net: str
    after: str | None = None
    end_to_end: bool = False
    learned_crf: bool = False

    @property
    def begins_with_choice(self) -> bool:
        """Whether something behind its scores is chosen on validation people before it begins.

        The CRF that CRF-RNN starts with, or the calibration of the scores in front of a matting
        layer (`tools.table.calibration`).
        """
        return self.learned_crf or self.end_to_end


#: In the order in which they are trained.
RUNS = (
    Run("fcn_trimap", "plain"),
    Run("fcn_mask_trimap", "masked"),
    Run("deeplab_trimap", "deeplab"),
    Run("portraitfcn_trimap", "portraitfcn"),
    Run("fcn", "plain", "fcn_trimap"),
    Run("ours_nomask", "plain", "fcn_trimap", end_to_end=True),
    Run("ours", "masked", "fcn_mask_trimap", end_to_end=True),
    Run("crfrnn", "crfrnn", "fcn_trimap", learned_crf=True),
    Run("deeplab", "deeplab", "deeplab_trimap"),
    Run("portraitfcn", "portraitfcn", "portraitfcn_trimap"),
)


@dataclass(frozen=True)
class Family:
    """The nets of one size that the runs train, and how.

    Attributes
    ----------
    nets : mapping
        Names in `prototxt.catalog`, by what `Run.net` calls them.
    warm_solver, solver : Path
        Solver files of warm starts and of what follows them, for all nets alike.
    solver_settings : mapping
        Fields of both solver files that differ, for all runs alike: here a trial of another
        solver type begins.
    new_layers_rate : float
        Learning rates of the convolutions behind those of VGG-16 are multiplied by it.
    origin : str
        Of the initial weights (`tools.training.weights.ORIGINS`).
    weights : Path
        Folder of the initial weights.
    folder : Path
        Holds one folder for each run.
    warm_folder : Path or None
        Holds those of the warm starts, and what was chosen after them, if `folder` does not: here
        a trial of what follows them begins.
    prepared : Path or None
        Folder of databases in place of those that the nets name.
    model : str
        Key of `tools.matting.models.MODELS` whose input the nets have.
    dataset : Path
        Its validation people choose.
    slice_iterations : int
        How far one training goes before it is the next one's turn.
    snapshot_iterations : int
        Weights of every so many iterations of a slice are averaged; the mean is kept, 0.1 GB each.
    """

    nets: Mapping[str, str]
    warm_solver: Path
    solver: Path
    folder: Path
    solver_settings: Mapping[str, object] = field(default_factory=dict)
    new_layers_rate: float = 1.0
    origin: str = "vgg16"
    weights: Path = MADE_WEIGHTS
    warm_folder: Path | None = None
    prepared: Path | None = None
    model: str = "fcn8s_half"
    dataset: Path = PORTRAIT_SET
    slice_iterations: int = 100
    snapshot_iterations: int = 20

    def net_of(self, run: Run) -> Net:
        """The net that a run trains."""
        return NETS[self.nets[run.net]]

    def databases_of(self, run: Run) -> Path:
        """Folder of the databases that a run trains on."""
        return self.prepared or ROOT / databases(self.net_of(run).trimap_train_val)[0].parent

    @property
    def shape_mask(self) -> Path:
        """The shape mask of the training portraits."""
        return self.databases_of(RUNS[0]) / "shape_mask.npz"

    def folder_of(self, run: Run) -> Path:
        """Folder of a run."""
        place = self.folder if run.after else self.warm_folder or self.folder
        return place / run.name

    def start_of(self, run: Run) -> Path:
        """Report on the search for what a run begins with."""
        return (self.warm_folder or self.folder) / f"{run.name}_start.json"


#: The table's nets, at half the photo's size.
HALF = Family(
    nets={
        "plain": "fcn8s_half_nomask",
        "masked": "fcn8s_half",
        "deeplab": "deeplab_half",
        "portraitfcn": "portraitfcn_half",
        "crfrnn": "crfrnn_half",
    },
    warm_solver=ROOT / "solver/fcn8s_half_trimap_solver.prototxt",
    solver=ROOT / "solver/fcn8s_half_matting_solver.prototxt",
    folder=ROOT / "snapshots/table1",
)


def run_named(name: str) -> Run:
    """The run of a name; `InputError` if there is none."""
    (run,) = chosen_runs([name], starts=False)
    return run


def chosen_runs(names: Sequence[str] | None, starts: bool = True) -> list[Run]:
    """The named runs in the order of `RUNS`, with those that they start from; else all.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    known = {run.name: run for run in RUNS}
    if names is None:
        return list(RUNS)
    if unknown := sorted(set(names) - known.keys()):
        raise InputError(f"There is no training {unknown[0]}; there are {', '.join(known)}.")
    before = {known[name].after for name in names} if starts else set()
    return [run for run in RUNS if run.name in before | set(names)]
