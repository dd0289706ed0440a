"""Choosing what the rows of Table 1 have to choose, on validation people.

For every row alike: first the snapshot of its net, then its settings, one axis after the other
(coordinate descent), by one criterion, the geometric mean of gradient error and SAD
(`tools.training.selection.selection_error`).  Every trial on every portrait is kept.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError
from data_prep.common.parallel import OrderedMap
from data_prep.datasets.resume import Journal
from tools.evaluation.metrics import evaluate
from tools.evaluation.report import describe_machine, read_report, write_report
from tools.evaluation.truths import PhotoTruth, truths_of_portraits
from tools.matting.models import ROOT
from tools.table.row_mattes import NetFiles, RowMattes
from tools.table.rows import START_ROWS, Row, Settings, chosen_rows
from tools.table.runs import RUNS, Family, run_named
from tools.table.training import Training, common_length, first_crf, first_settings
from tools.training.selection import geometric_mean, validation_portraits

logger = logging.getLogger(__name__)

OUT = ROOT / "out/table1"
COMMAND = "tools/table1.py tune"
DRAWS = range(5)  # of a graph cut's background seeds, to tell how much they matter


@dataclass(frozen=True)
class MeanErrors:
    """Mean errors of a trial on the validation portraits, and the criterion."""

    gradient: float
    sad: float
    criterion: float


@dataclass(frozen=True)
class PortraitTrial:
    """One portrait of one trial; its result is the pair of its errors."""

    mattes: RowMattes
    truth: PhotoTruth

    def errors(self) -> tuple[float, float]:
        """Gradient error and SAD."""
        found = evaluate(
            self.mattes.matte(self.truth, self.truth.read_photo()).alpha, self.truth.read_truth()
        )
        return found.dapm_gradient, found.sad


class Tuner:
    """Trials on validation portraits, each of which is made once.

    Parameters
    ----------
    family : Family
    truths : sequence of PhotoTruth
    ordered_map : OrderedMap
        Where trials are made; workers keep their nets from one trial to the next.
    out : Path
        Where trials and scores of nets are kept.
    """

    def __init__(
        self,
        family: Family,
        truths: Sequence[PhotoTruth],
        ordered_map: OrderedMap,
        out: Path = OUT,
    ) -> None:
        self._family, self._truths, self._map = family, truths, ordered_map
        self._cache = out / "scores"
        self._journal = Journal(out, "trials.jsonl")
        records = self._journal.read()
        self._journal.start(records)
        self._known = {record["key"]: tuple(record["errors"]) for record in records}
        self._photos = [
            content_key(sha256_of(each.pair.photo), sha256_of(each.pair.matte)) for each in truths
        ]

    def mattes(self, row: Row, settings: Settings, weights: Path | None) -> RowMattes:
        """Mattes of a row, with the weights of its net."""
        return mattes_of(self._family, row, settings, weights, self._cache)

    def compare(self, trials: Sequence[RowMattes], label: str = "") -> list[MeanErrors]:
        """Mean errors of trials."""
        keys = [content_key(mattes.key, photo) for mattes in trials for photo in self._photos]
        tasks = [PortraitTrial(mattes, truth) for mattes in trials for truth in self._truths]
        todo = {key: task for key, task in zip(keys, tasks) if key not in self._known}
        results = self._map(PortraitTrial.errors, list(todo.values()))
        for key, errors in zip(todo, tqdm(results, label, len(todo), unit="matte", leave=False)):
            self._journal.append({"key": key, "errors": errors})
            self._known[key] = errors
        count = len(self._truths)
        return [
            _mean([self._known[key] for key in keys[start : start + count]])
            for start in range(0, len(keys), count)
        ]

    def descend(
        self, row: Row, weights: Path | None
    ) -> tuple[Settings, MeanErrors, list[dict[str, Any]]]:
        """The best settings, axis by axis, their errors, and all that was tried."""
        best = row.start
        (errors,) = self.compare([self.mattes(row, best, weights)], row.name)
        tried = {best: errors}
        for axis in row.axes:
            trials = axis.trials(best)
            mattes = [self.mattes(row, each, weights) for each in trials]
            found = self.compare(mattes, f"{row.name} {' '.join(axis.names)}")
            tried |= dict(zip(trials, found))
            # Settings so far stay where others are no better.
            best = min([best, *trials], key=lambda each: tried[each].criterion)
        grid = [{"settings": each.to_json(), **asdict(found)} for each, found in tried.items()]
        return best, tried[best], grid

    def best_weights(
        self, row: Row, training: Training, most: int
    ) -> tuple[Path, tuple[int, int], list[dict[str, Any]]]:
        """The weights with the best mattes at the first settings, and what all have.

        Parameters
        ----------
        row : Row
        training : Training
        most : int
            Iterations beyond which there is no choice.

        Returns
        -------
        weights : Path
        iterations : (int, int)
            The first and the last of those that they are a mean of.
        snapshots : list of dict
            Errors of all candidates.
        """
        candidates = training.candidates(most)
        if not candidates:
            raise InputError(
                f"{training.folder} holds no weights of an iteration that all trainings have "
                "reached; go on with `tools/table1.py train`."
            )
        mattes = [self.mattes(row, row.start, path) for path in candidates.values()]
        found = self.compare(mattes, f"{row.name} snapshots")
        snapshots = [
            {"iterations": iterations, **asdict(errors)}
            for iterations, errors in zip(candidates, found)
        ]
        best = min(zip(candidates, found), key=lambda each: each[1].criterion)[0]
        return candidates[best], best, snapshots


def _mean(errors: Sequence[tuple[float, float]]) -> MeanErrors:
    gradient, sad = np.mean(errors, axis=0).tolist()
    return MeanErrors(gradient, sad, geometric_mean(gradient, sad))


def mattes_of(
    family: Family,
    row: Row,
    settings: Settings,
    weights: Path | None,
    cache: Path,
    out: Path | None = None,
) -> RowMattes:
    """What gives the mattes of a row with some settings and weights of its net."""
    net = None
    if row.run is not None and weights is not None:
        run = run_named(row.run)
        crf = first_crf(family, run) if run.learned_crf else None
        net = NetFiles(family.net_of(run), family.model, weights, family.shape_mask, crf)
    return RowMattes(row, settings, family.shape_mask, cache, net, out)


def validation_truths(family: Family, every: int) -> list[PhotoTruth]:
    """Every N-th validation portrait of a family's dataset."""
    return truths_of_portraits(family.dataset, validation_portraits(family.dataset, every))


def choose_start(training: Training, tuner: Tuner) -> None:
    """Choose what a training begins with besides weights, with those of its warm start.

    Writes the report that `tools.table.training.first_settings` reads.
    """
    weights = training.initial_weights()
    settings, errors, grid = tuner.descend(START_ROWS[training.run.name], weights)
    report = {
        "settings": settings.to_json(),
        "after": {"file": weights.name, "sha256": sha256_of(weights)},
        **asdict(errors),
        "grid": grid,
    }
    write_report(training.family.start_of(training.run), report)


def choice_of(row: Row, family: Family, tuner: Tuner, most: int) -> dict[str, Any]:
    """Choice of a row, as the choices file holds it; `most` is that of `Tuner.best_weights`."""
    weights, about = None, {}
    if row.run is not None:
        training = Training(run_named(row.run), family, 0)
        training.check_start()
        if training.run.end_to_end:  # its scores are meant to be seen as they were trained
            row = replace(row, start=first_settings(family, training.run))
        weights, iterations, snapshots = tuner.best_weights(row, training, most)
        about = {
            "weights": {
                "file": weights.name,
                "sha256": sha256_of(weights),
                "iterations": iterations,
            },
            "snapshots": snapshots,
        }
    settings, errors, grid = tuner.descend(row, weights)
    if row.source == "graph_cut":
        mattes = tuner.mattes(row, settings, weights)
        draws = tuner.compare([replace(mattes, draw=draw) for draw in DRAWS], f"{row.name} draws")
        about["draws"] = [asdict(each) for each in draws]
    return {**about, "settings": settings.to_json(), **asdict(errors), "grid": grid}


def trained_rows(family: Family, names: Sequence[str] | None) -> list[Row]:
    """The named rows; without names, all whose nets have weights, and a warning of the others."""
    rows = chosen_rows(names)
    if names is not None:
        return rows
    without = [
        row.name
        for row in rows
        if row.run is not None and not Training(run_named(row.run), family, 0).slices()
    ]
    if without:
        logger.warning("Left out, as their nets are not trained yet: %s.", ", ".join(without))
    return [row for row in rows if row.name not in without]


def rows_with_choice(names: Sequence[str] | None, choices: Path) -> list[Row]:
    """The named rows; without names, all that have a choice.

    Raises
    ------
    InputError
        If there are no choices.
    """
    known = read_report(choices, COMMAND)["rows"]
    return [row for row in chosen_rows(names) if names is not None or row.name in known]


def oracle_widths(
    family: Family, rows: Sequence[Row], tuner: Tuner, choices: Path, cache: Path
) -> dict[str, Any]:
    """What the widths of an axis give on the tuner's photos, for rows that have one.

    To be told as an oracle where these are test images: nothing is chosen by it.
    """
    found = {}
    for row in rows:
        axis = next((axis for axis in row.axes if axis.names == ("width",)), None)
        if axis is None:
            continue
        mattes, _ = chosen_mattes(row, family, choices, cache)
        trials = list(dict.fromkeys([mattes.settings, *axis.trials(mattes.settings)]))
        errors = tuner.compare(
            [replace(mattes, settings=each) for each in trials], f"{row.name} oracle"
        )
        told = [{"width": t.width, **asdict(e)} for t, e in zip(trials, errors)]
        best = min(range(len(told)), key=lambda number: errors[number].criterion)
        found[row.name] = {"chosen": told[0], "best": told[best], "all": told}
    return found


def tune(
    family: Family, rows: Sequence[Row], tuner: Tuner, choices: Path, about: Mapping[str, Any]
) -> None:
    """Choose for rows, and write the choices; those of other rows stay.

    Parameters
    ----------
    family : Family
    rows : sequence of Row
    tuner : Tuner
    choices : Path
        A JSON file, to be committed before anything is measured on test images.
    about : mapping
        On which portraits; entries of the file.
    """
    known = json.loads(choices.read_text())["rows"] if choices.is_file() else {}
    most = common_length(family)  # no row has more iterations to choose from than another
    for row in rows:
        known[row.name] = choice_of(row, family, tuner, most)
        starts = {
            run.name: json.loads(family.start_of(run).read_text())
            for run in RUNS
            if family.start_of(run).is_file()
        }
        report = {"machine": describe_machine(), **about, "starts": starts, "rows": known}
        write_report(choices, report)


def chosen_mattes(
    row: Row, family: Family, choices: Path, cache: Path, out: Path | None = None
) -> tuple[RowMattes, dict[str, Any]]:
    """Mattes of a row as it was chosen, and its choice.

    Raises
    ------
    InputError
        If there are no choices, none for this row, or its weights are not those of the choice.
    """
    report = read_report(choices, COMMAND)
    if row.name not in report["rows"]:
        raise InputError(f"{choices} has no choice for {row.name}; run `{COMMAND}` first.")
    choice = report["rows"][row.name]
    weights = None
    if row.run is not None:
        noted = choice["weights"]
        weights = family.folder_of(run_named(row.run)) / noted["file"]
        if not weights.is_file() or sha256_of(weights) != noted["sha256"]:
            raise InputError(
                f"{weights} is not what {choices} was chosen with; run `{COMMAND}` again."
            )
    settings = Settings.from_json(choice["settings"])
    return mattes_of(family, row, settings, weights, cache, out), choice
