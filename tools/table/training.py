"""Training the rows of Table 1 in turn, so that a stop at any time leaves a fair table.

`caffe train` is run for `Family.slice_iterations` at a time.  Warm starts come first, one after the
other; then what follows them in turn, a slice each, so that all rows have gone equally far.

Portrait by portrait, steps at a fixed rate waver around what they approach, and the last few
portraits show in every snapshot.  So it is not the last weights of a slice that are kept, to choose
from and to begin the next training with, but the mean of several from its whole length.

Caffe's Data layer starts with the first record of a database whenever a training is resumed:
in slices it would see the same few portraits again and again.  So each slice gets databases of
its own that hold just its records.  The records of a run go on where its warm start ended,
and every run sees the same ones.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_layers.mean_field import CrfSettings
from data_prep.caffe_data.caffe_lmdb import copy_records
from data_prep.caffe_data.position import write_positions
from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from prototxt.catalog import CRF_LAYER
from tools.evaluation.report import read_report
from tools.matting.caffe_net import read_caffemodel, write_caffemodel
from tools.matting.models import ROOT
from tools.table.calibration import calibrate_net
from tools.table.rows import Settings
from tools.table.runs import RUNS, Family, Run, run_named
from tools.training.stages import Stage, check_databases, run_stages
from tools.training.variants import initial_weights_digest, varied_stage
from tools.training.weights import mean_weights, write_initial_weights

logger = logging.getLogger(__name__)

# Of W_spatial, W_bilateral and C, gentler than in the net's definition: Adam moves each weight by
# about the rate, so at 1e-5 by at most 0.45, 0.45 and 0.15 in 1,500 iterations.
CRF_RATES = (30, 30, 10)
#: The mean of so many of the last slices is one more to choose from.
MEAN_OF = 3
#: Written as the length of a training whose end is not known.
NO_END = 1_000_000


@dataclass(frozen=True)
class Training:
    """A run with its files.

    Attributes
    ----------
    run : Run
    family : Family
    warm_iterations : int
        Length of the warm starts.
    """

    run: Run
    family: Family
    warm_iterations: int

    @property
    def folder(self) -> Path:
        """Where its solver file, snapshots and log are."""
        return self.family.folder_of(self.run)

    @property
    def solver(self) -> Path:
        """The solver file that `stage` writes."""
        return self.folder / "solver.prototxt"

    @property
    def start(self) -> Path | None:
        """The weights of a warm start that it has begun from; None for one, or before it begins."""
        if self.run.after is None or not self.solver.is_file():
            return None
        parameters = text_format.Parse(self.solver.read_text(), caffe_pb2.SolverParameter())
        return Path(parameters.weights[0])

    @property
    def log(self) -> Path:
        """What Caffe says, of all slices."""
        return self.folder / f"{self.run.name}.log"

    def weights_at(self, iteration: int) -> Path:
        """Path of its weights after an iteration."""
        return self.folder / f"{self.run.name}_iter_{iteration}.caffemodel"

    def snapshots(self) -> dict[int, Path]:
        """Its whole weights that Caffe has written and are still there, by iteration."""
        found = self.folder.glob(f"{self.run.name}_iter_*.caffemodel")
        numbered = sorted((int(path.stem.rpartition("_")[2]), path) for path in found)
        # Caffe writes weights before the state: later ones may have been cut short by a kill.
        reached = self.reached()
        return {iteration: path for iteration, path in numbered if iteration <= reached}

    def slices(self) -> dict[tuple[int, int], Path]:
        """Mean weights of its slices, by the first and the last iteration that each is a mean of.

        That of the last slice is written where it is missing.
        """
        self._complete_last_slice()
        return dict(sorted(self._written_slices().items()))

    def mean_of_slice(self, end: int) -> Path:
        """Mean of the weights of the slice that ends at an iteration; written where missing.

        Raises
        ------
        InputError
            If there are no weights to take it of.
        """
        written = {last: path for (_, last), path in self._written_slices().items()}
        if end in written:
            return written[end]
        # A slice that was ended before its length was full has a mean of its own.
        begin = max((last for last in written if last < end), default=0)
        paths = {
            each: path
            for each, path in self.snapshots().items()
            # Caffe writes one when it is interrupted, too.
            if (begin < each < end and each % self.family.snapshot_iterations == 0) or each == end
        }
        if end not in paths:
            raise InputError(f"{self.weights_at(end)} is missing; run `tools/table1.py train`.")
        mean = self.folder / f"{self.run.name}_slice_{min(paths)}-{end}.caffemodel"
        _write_mean(mean, list(paths.values()))
        return mean

    def candidates(self, most: int) -> dict[tuple[int, int], Path]:
        """Weights to choose from: the means of its slices, and the mean of the last of these.

        By the first and the last iteration that each is a mean of.  The mean of the last slices is
        written where it is missing.

        Parameters
        ----------
        most : int
            Without those that have gone further.
        """
        found = {ends: path for ends, path in self.slices().items() if ends[1] <= most}
        last = list(found)[-MEAN_OF:]
        if len(last) == MEAN_OF:
            ends = last[0][0], last[-1][1]
            mean = self.folder / f"{self.run.name}_mean_{ends[0]}-{ends[1]}.caffemodel"
            if not mean.is_file():
                _write_mean(mean, [found[each] for each in last])
            found[ends] = mean
        return found

    def _written_slices(self) -> dict[tuple[int, int], Path]:
        found = {}
        for path in self.folder.glob(f"{self.run.name}_slice_*.caffemodel"):
            first, last = path.stem.rpartition("_")[2].split("-")
            found[int(first), int(last)] = path
        return found

    def _complete_last_slice(self) -> None:
        """Write its mean where a stop came just before that."""
        reached = self.reached()
        if reached and reached % self.family.slice_iterations == 0:
            self.mean_of_slice(reached)

    @cached_property
    def net(self) -> Path:
        """The definition that it trains.

        Raises
        ------
        InputError
            If what it begins with has not been chosen yet.
        """
        net = self.family.net_of(self.run)
        path = net.train_val if self.run.end_to_end else net.trimap_train_val
        rate = self.family.new_layers_rate
        if not self.run.begins_with_choice and rate == 1:
            return path
        definition = text_format.Parse(path.read_text(), caffe_pb2.NetParameter())
        if self.run.learned_crf:
            _set_crf(definition, first_crf(self.family, self.run))
        if self.run.end_to_end:
            settings = first_settings(self.family, self.run)
            calibrate_net(definition, settings.sharpness, settings.unknown_bias)
        _multiply_new_rates(definition, rate)
        path = self.folder.with_name(f"{self.run.name}_net.prototxt")
        _write(path, text_format.MessageToString(definition))
        return path

    def initial_weights(self) -> Path:
        """What it starts from; those of a warm start are written where they are missing."""
        net = self.family.net_of(self.run)
        if self.run.after is not None:
            start = Training(run_named(self.run.after), self.family, self.warm_iterations)
            return start.mean_of_slice(self.warm_iterations)
        path = net.initial_weights(self.family.weights)
        if not path.is_file():
            write_initial_weights(net, self.family.origin, path)
        return path

    def stage(self) -> Stage:
        """Its stage, without an end; the files of one that depended on something else are moved.

        Raises
        ------
        InputError
            If what it starts from is missing.
        """
        if self.family.net_of(self.run).has_position:
            write_positions(self.family.databases_of(self.run))
        solver = self.family.solver if self.run.after else self.family.warm_solver
        settings = {
            **self.family.solver_settings,
            "max_iter": NO_END,
            "snapshot": self.family.snapshot_iterations,
            "test_iter": [],  # no test nets: they take memory, and are not used
            "test_initialization": False,
        }
        return varied_stage(
            self.run.name,
            solver,
            self.initial_weights(),
            settings,
            self.net,
            self.family.prepared,
            self.family.folder,
        )

    def end_of_slice(self, reached: Mapping[str, int], iterations: int) -> int:
        """Iteration at which its next slice ends: a multiple of a slice's length, or the last."""
        length = self.family.slice_iterations
        return min((reached[self.run.name] // length + 1) * length, iterations)

    def reached(self) -> int:
        """Iterations that its last whole snapshot has."""
        if not self.solver.is_file():
            return 0
        last = Stage.read(self.solver).last_snapshot()
        return last[0] if last else 0

    def reached_since_changes(self) -> int:
        """What it has reached, if everything that it began with is the same today.

        Files that depended on something else, such as other portraits or another warm start, are
        moved aside: those of a training after a warm start once that is complete, and what the
        training begins with has been chosen.  Until then it has to begin anew.
        """
        if self.run.after is not None:
            start = Training(run_named(self.run.after), self.family, self.warm_iterations)
            if start.reached_since_changes() < self.warm_iterations or not self.reached():
                return 0
            if self.run.begins_with_choice and not _has_start(self):
                return 0
        self.stage()
        return self.reached()

    def check_start(self) -> None:
        """Refuse weights whose warm start has been trained anew since they began from it.

        Raises
        ------
        InputError
            If so.
        """
        start = self.start
        if start and start.is_file() and sha256_of(start) != initial_weights_digest(self.solver):
            raise InputError(
                f"{self.folder} began from an earlier {start.name}; go on with "
                "`tools/table1.py train`, which trains it anew."
            )

    def advance(self, iterations: int) -> None:
        """Train to this many iterations, in one slice from the last snapshot on.

        Raises
        ------
        InputError
            If Caffe fails or is stopped, or something is missing.
        """
        stage = self.stage()
        check_databases(stage.net)
        reached = self.reached()
        self._complete_last_slice()
        records = self.folder / "slice"
        parameters = text_format.Parse(stage.solver.read_text(), caffe_pb2.SolverParameter())
        net = _with_records_of_slice(
            stage.net,
            records,
            self._seen(reached),
            iterations - reached,
        )
        _write(self.folder / "slice_net.prototxt", net)
        parameters.net = str(self.folder / "slice_net.prototxt")
        parameters.max_iter = iterations
        parameters.random_seed += reached  # dropout draws go on, too
        slice_solver = self.folder / "slice_solver.prototxt"
        _write(slice_solver, text_format.MessageToString(parameters))
        run_stages([Stage.read(slice_solver)])
        shutil.rmtree(records, ignore_errors=True)
        self.mean_of_slice(iterations)
        self._remove_old_snapshots()

    def _seen(self, reached: int) -> int:
        """Iterations that its weights have behind them, those of the warm start included."""
        return reached + (self.warm_iterations if self.run.after else 0)

    def _remove_old_snapshots(self) -> None:
        """Keep the last one, to go on from; the others are in the means of their slices."""
        last = self.reached()
        for iteration, weights in self.snapshots().items():
            if iteration < last:
                weights.with_suffix(".solverstate").unlink(missing_ok=True)
                weights.unlink()


def _write_mean(path: Path, weights: Sequence[Path]) -> None:
    write_caffemodel(path, mean_weights([read_caffemodel(each) for each in weights]))


def first_settings(family: Family, run: Run) -> Settings:
    """What a run begins with, which `tools.table.tuning.choose_start` has chosen.

    Raises
    ------
    InputError
        If it has not.
    """
    report = read_report(family.start_of(run), "tools/table1.py train")
    return Settings.from_json(report["settings"])


def first_crf(family: Family, run: Run) -> CrfSettings:
    """The CRF that a run begins with; `InputError` if none has been chosen."""
    crf = first_settings(family, run).crf
    if crf is None:
        raise InputError(f"{family.start_of(run)} has no CRF; remove it, and train again.")
    return crf


def _has_start(training: Training) -> bool:
    """Whether a start has been chosen, and with the weights that the training begins from."""
    path = training.family.start_of(training.run)
    if not path.is_file():
        return False
    chosen_after = json.loads(path.read_text())["after"]["sha256"]
    return bool(chosen_after == sha256_of(training.initial_weights()))


def _set_crf(definition: caffe_pb2.NetParameter, settings: CrfSettings) -> None:
    """Let the mean-field layer of a net start with these settings."""
    (layer,) = (each for each in definition.layer if each.name == CRF_LAYER)
    options = json.loads(layer.python_param.param_str) | asdict(settings)
    layer.python_param.param_str = json.dumps(options)
    for parameters, rate in zip(layer.param, CRF_RATES, strict=True):
        parameters.lr_mult = rate


def _multiply_new_rates(definition: caffe_pb2.NetParameter, rate: float) -> None:
    """Multiply the rates of the convolutions that VGG-16 does not have."""
    for layer in definition.layer:
        if layer.type == "Convolution" and not layer.name.startswith("conv"):
            for parameters in layer.param:
                parameters.lr_mult *= rate


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as scratch:
        scratch.write_text(text)


def _with_records_of_slice(net: Path, folder: Path, seen: int, iterations: int) -> str:
    """Write databases of the records of a slice, and return the net that reads them.

    Parameters
    ----------
    net : Path
        Definition for training.
    folder : Path
        Where the databases go.
    seen, iterations : int
        The iterations before the slice, and those in it.
    """
    definition = text_format.Parse(net.read_text(), caffe_pb2.NetParameter())
    for layer in definition.layer:
        is_trained_on = caffe_pb2.TRAIN in {rule.phase for rule in layer.include}
        if layer.type == "Data" and is_trained_on:
            source, batch = ROOT / layer.data_param.source, layer.data_param.batch_size
            target = folder / source.name
            copy_records(source, target, seen * batch, iterations * batch)
            layer.data_param.source = str(target)
    return text_format.MessageToString(definition)


def warm_iterations_of(training: Training) -> int:
    """Length of the warm start that a training after it has begun from; 0 before it begins."""
    return int(training.start.stem.rpartition("-")[2]) if training.start else 0


def common_length(family: Family) -> int:
    """Iterations after their warm starts that all trainings have reached which have begun."""
    trainings = (Training(run, family, 0) for run in RUNS if run.after is not None)
    return min((reached for each in trainings if (reached := each.reached())), default=0)


def settled_warm_iterations(family: Family) -> int | None:
    """Length of the warm starts from which further trainings have begun; None before that."""
    begun = (warm_iterations_of(Training(run, family, 0)) for run in RUNS)
    return next((iterations for iterations in begun if iterations), None)


def next_slice(
    trainings: Sequence[Training], reached: Mapping[str, int], iterations: int
) -> tuple[Training, int] | None:
    """Which training goes on next, and until which iteration; None at the end.

    Parameters
    ----------
    trainings : sequence of Training
    reached : mapping
        Iterations behind each, by the name of the run.
    iterations : int
        What the trainings after the warm starts end at.
    """
    for training in trainings:
        if training.run.after is None and reached[training.run.name] < training.warm_iterations:
            return training, training.end_of_slice(reached, training.warm_iterations)
    behind = [each for each in trainings if each.run.after and reached[each.run.name] < iterations]
    if not behind:
        return None
    # The one that is the least far comes first, so that one which was left behind catches up.
    training = min(behind, key=lambda each: reached[each.run.name])
    return training, training.end_of_slice(reached, iterations)


def train(
    family: Family,
    runs: Sequence[Run],
    iterations: int,
    warm_iterations: int | None = None,
    choose_start: Callable[[Training], None] | None = None,
) -> None:
    """Train until everything has so many iterations, from wherever each training is.

    Parameters
    ----------
    family : Family
    runs : sequence of Run
        With those that they start from.
    iterations : int
        Of what follows the warm starts.
    warm_iterations : int, optional
        Of the warm starts.  Without it, that from which others have begun, else `iterations`.
    choose_start : callable, optional
        Chooses what a run begins with, from its warm start.

    Raises
    ------
    InputError
        If Caffe fails or is stopped; the same call goes on.
    """
    warm = warm_iterations or settled_warm_iterations(family) or iterations
    if warm != iterations:
        logger.warning("Warm starts have %d iterations, what follows them %d.", warm, iterations)
    trainings = [Training(run, family, warm) for run in runs]
    reached = {each.run.name: each.reached_since_changes() for each in trainings}
    while found := next_slice(trainings, reached, iterations):
        training, end = found
        if training.run.begins_with_choice and choose_start and not _has_start(training):
            choose_start(training)
        training.stage()
        if training.reached() < reached[training.run.name]:  # it begins anew
            reached[training.run.name] = training.reached()
            continue
        training.advance(end)
        reached[training.run.name] = end
