"""Ablation: trainings that leave out one part of the recipe, to see what the part is worth.

    .venv/bin/python -m tools.experiments.ablation list
    .venv/bin/python -m tools.experiments.ablation run [NAME ...] [--scale 0.25] [--split test]
    .venv/bin/python -m tools.experiments.ablation install nomask [--scale 0.25]
    .venv/bin/python -m tools.experiments.ablation docs      # puts the tables into docs/training.md

Each experiment is both stages of a recipe with something changed, by real `caffe
train`, with the last snapshot (none is chosen).  --scale shortens every stage;
experiments of one table have one scale.  A run that was killed continues when it is
started again, though from the first record: Caffe does not note how far it has read.
Finished experiments are not trained again (snapshots/variants/).
Without names, `run` takes the experiments of portrait-lite: FCN-8s takes days.

`install` copies the snapshot that is best on the validation people, as the recipe does,
into data/models/, for a row of the study's table.
"""

from __future__ import annotations

import argparse
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.caffe_data.augmentation import parse_augmentations
from data_prep.caffe_data.products import prepare
from data_prep.common.errors import InputError, run_program
from data_prep.common.options import count, named_path, positive
from data_prep.common.parallel import available_workers
from data_prep.datasets.dataset import Dataset, Portrait
from prototxt.catalog import MADE_WEIGHTS, NETS
from tools.evaluation.estimates import Errors, as_dicts, compare, estimates
from tools.evaluation.portraits import people_of
from tools.evaluation.report import (
    describe_machine,
    estimate_cell,
    markdown_table,
    read_report,
    renew_section,
    shown,
    write_report,
)
from tools.matting.models import MODELS, ROOT
from tools.training.selection import (
    EVERY,
    PORTRAIT_SET,
    Point,
    best_point,
    describe,
    errors_of_weights,
    trained_shape_mask,
    validation_portraits,
)
from tools.training.stages import Stage, keep_files, run_stages, stages_of
from tools.training.variants import scaled, varied_stage
from tools.training.weights import write_initial_weights

COMMAND = ".venv/bin/python -m tools.experiments.ablation run"
OUT, DOCS = ROOT / "out/ablation", ROOT / "docs/training.md"
#: The section of each recipe's tables in `DOCS`, and the command that writes it.
SECTIONS = {
    "portrait": ("ablation", "make ablation"),
    "fcn8s_half": ("ablation-fcn8s_half", ".venv/bin/python -m tools.experiments.ablation docs"),
}
#: Origin of each recipe's initial weights (tools/init_weights.py).
ORIGINS = {"portrait": "selfie", "fcn8s_half": "vgg16"}
#: Least distance of two snapshots: one of FCN-8s takes a third of a gigabyte.
SNAPSHOT_ITERATIONS = 50


@dataclass(frozen=True)
class Experiment:
    """One training.

    Attributes
    ----------
    name : str
    title : str
        What the table calls it.
    net : str
        A net of `prototxt.catalog`.
    recipe : str
        Decides the stages (`tools.training.stages.RECIPES`), and how the net is used and
        with which shape mask (`tools.matting.models.MODELS`).
    warm, end_to_end : bool
        Which stages are run.
    seed, augment, vary
        Settings of the databases (`data_prep.caffe_data.products`): the order of records,
        the versions of a portrait, and whether photos are varied.  Nothing else in
        portrait-lite's training is random.  In FCN-8s, dropout depends on its solver's
        seed, and layers that start at random on the seed of tools/init_weights.py.
    shares : str or None
        Experiment whose trained stages are reused.
    """

    name: str
    title: str
    net: str = "portrait"
    recipe: str = "portrait"
    warm: bool = True
    end_to_end: bool = True
    seed: int = 0
    augment: str = "all"
    vary: bool = True
    shares: str | None = None

    @property
    def installed(self) -> Path:
        """Where `install` puts the weights."""
        stem = self.name if self.name.startswith(self.recipe) else f"{self.recipe}_{self.name}"
        return MADE_WEIGHTS / f"{stem}.caffemodel"


EXPERIMENTS = (
    Experiment("base", "the recipe"),
    Experiment("seed1", "the same, another seed", seed=1),
    Experiment("seed2", "the same, a third seed", seed=2),
    Experiment("warm", "warm start alone", end_to_end=False, shares="base"),
    Experiment("cold", "end to end without warm start", warm=False),
    Experiment("nomask", "without shape mask", net="portrait_nomask"),
    Experiment("third", "at a third of the photo's size", net="portrait_third"),
    Experiment("novary", "without the variation of photos", vary=False),
    Experiment("noaugment", "originals only, with the variation", augment="none"),
    Experiment("fcn8s_half", "FCN-8s at half size", net="fcn8s_half", recipe="fcn8s_half"),
    Experiment(
        "fcn8s_half_warm",
        "warm start alone",
        net="fcn8s_half",
        recipe="fcn8s_half",
        end_to_end=False,
        shares="fcn8s_half",
    ),
    Experiment(
        "fcn8s_half_nomask", "without shape mask", net="fcn8s_half_nomask", recipe="fcn8s_half"
    ),
)


def label_of(scale: float) -> str:
    """Suffix of the names of stages and reports of a scale; empty for the full length."""
    return "" if scale == 1 else f"_{scale:g}"


def results_of(report: Mapping[str, Any]) -> Path:
    """File of a report: one for each recipe, scale, split and number of images."""
    measured_on = f"{report['split']}{report['images']}"
    return OUT / f"{report['recipe']}{label_of(report['scale'])}_{measured_on}.json"


def reports_of(recipe: str) -> list[dict]:
    """Reports on a recipe's experiments, the longest trainings first."""
    reports = [read_report(path, COMMAND) for path in OUT.glob("*.json")]
    found = [report for report in reports if report["recipe"] == recipe]
    return sorted(found, key=lambda report: -report["scale"])


def settings_of(solver: Path, scale: float) -> dict[str, object]:
    """Settings that differ from a solver file: the length, and no tests by Caffe.

    Its test loss is not used here and takes a quarter of a short training's time.
    """
    settings = scaled(solver, scale)
    return {
        **settings,
        "snapshot": max(settings["snapshot"], min(SNAPSHOT_ITERATIONS, settings["max_iter"])),
        "test_interval": settings["max_iter"] + 1,
        "test_initialization": False,
    }


def stages_of_experiment(experiment: Experiment, scale: float) -> list[tuple[str, dict, Path]]:
    """Name, changed settings and solver file of each stage, in order."""
    warm, last = stages_of(experiment.recipe)
    run = [("warm", warm)] * experiment.warm + [("end", last)] * experiment.end_to_end
    return [
        (
            f"{experiment.shares or experiment.name}{label_of(scale)}_{name}",
            settings_of(stage.solver, scale),
            stage.solver,
        )
        for name, stage in run
    ]


def own_databases(experiment: Experiment, dataset: Path) -> Path | None:
    """Write the databases of an experiment and return their folder; None for the usual ones."""
    if (experiment.seed, experiment.augment, experiment.vary) == (0, "all", True):
        return None
    out = ROOT / f"data/prepared_{experiment.name}"
    prepare(
        dataset,
        out,
        experiment.seed,
        parse_augmentations(experiment.augment),
        workers=available_workers(),
        vary=experiment.vary,
    )
    return out


def net_file(experiment: Experiment, stage_name: str) -> Path:
    """The net definition of a stage."""
    net = NETS[experiment.net]
    return net.trimap_train_val if stage_name.endswith("_warm") else net.train_val


def train(experiment: Experiment, scale: float, dataset: Path) -> Stage:
    """Run the stages of an experiment that are not finished, and return the last one.

    The unchanged recipe at full length shares its snapshots with tools/train.py.
    """
    prepared = own_databases(experiment, dataset)
    net = NETS[experiment.net]
    weights = net.initial_weights()
    if not weights.is_file():
        write_initial_weights(net, ORIGINS[experiment.recipe], weights)
    if scale == 1 and reference_of(experiment) in (experiment.name, experiment.shares):
        return run_stages(stages_of(experiment.recipe)[: experiment.warm + experiment.end_to_end])
    for name, settings, solver in stages_of_experiment(experiment, scale):
        file = net_file(experiment, name)
        stage = run_stages([varied_stage(name, solver, weights, settings, file, prepared)])
        weights = stage.result
    return stage


def experiment_errors(
    experiment: Experiment,
    stage: Stage,
    weights: Path,
    portraits: Sequence[Portrait],
    out: Path = OUT,
) -> Errors:
    """Errors of weights that an experiment trained, on each portrait."""
    deploy = NETS[experiment.net].trimap_deploy
    return errors_of_weights(
        weights.stem, experiment.recipe, weights, stage, portraits, out, deploy
    )


def install(experiment: Experiment, scale: float, dataset: Path, every: int) -> Path:
    """Train an experiment and keep its best snapshot; return its path."""
    stage, portraits = train(experiment, scale, dataset), validation_portraits(dataset, every)
    people = people_of(dataset, portraits)
    points = [
        Point(
            0,
            iteration,
            str(weights),
            estimates(experiment_errors(experiment, stage, weights, portraits), people),
        )
        for iteration, weights in stage.snapshots()
    ]
    print(describe(points))
    kept = {experiment.installed: Path(best_point(points, 0).weights)}
    model = MODELS[experiment.recipe]
    if experiment.installed == model.weights:
        kept[model.shape_mask] = trained_shape_mask(stage)
    keep_files(kept)
    return experiment.installed


def reference_of(experiment: Experiment) -> str:
    """Name of the experiment with the unchanged recipe, the first in the table."""
    return next(each.name for each in EXPERIMENTS if each.recipe == experiment.recipe)


def ablation_report(
    experiments: Sequence[Experiment],
    errors: Mapping[str, Errors],
    people: Mapping[str, Hashable],
) -> dict:
    """Means, and differences from the unchanged recipe if that was measured, too.

    Parameters
    ----------
    experiments : sequence of Experiment
    errors : mapping
        By the name of the experiment.
    people : mapping
        Who is on an image, by stem.
    """
    rows = []
    for each in experiments:
        reference = reference_of(each)
        row = {
            "name": each.name,
            "title": each.title,
            "errors": as_dicts(estimates(errors[each.name], people)),
            "difference": None,
        }
        if reference in errors and each.name != reference:
            found = compare(errors[each.name], errors[reference], people)
            row["difference"] = {m: asdict(v.difference) for m, v in found.items()}
        rows.append(row)
    some = next(iter(errors.values()))
    return {"machine": describe_machine(), "images": len(some), "rows": rows}


def ablation_table(report: dict) -> str:
    """Heading and table in Markdown, a row for each experiment."""
    length = "" if report["scale"] == 1 else f", every stage {report['scale']:g} times as long"
    heading = (
        f"Means over {report['images']} {report['split']} images ± the standard error over "
        f"images (in brackets: over people){length}; Δ is the paired difference from the "
        f"recipe, negative where leaving the part out is better "
        f"({report['machine']['date']}):"
    )
    head = [
        "",
        f"`{COMMAND}`",
        "gradient ×1e-3",
        "Δ gradient",
        "SAD ×1e3",
        "Δ SAD",
    ]
    rows = []
    for row in report["rows"]:
        cells = [row["title"], f"`{row['name']}`"]
        for measure, unit in (("dapm_gradient", 1e-3), ("sad", 1.0)):
            cells.append(estimate_cell(row["errors"][measure], unit))
            difference = row["difference"]
            cells.append(estimate_cell(difference[measure], unit, sign="+") if difference else "")
        rows.append(cells)
    return f"{heading}\n\n{markdown_table(head, rows)}"


def chosen(names: Sequence[str]) -> list[Experiment]:
    """Experiments with these names, in the table's order; without names, portrait-lite's.

    Raises
    ------
    InputError
        If a name is unknown, or the experiments belong to several recipes.
    """
    known = {each.name for each in EXPERIMENTS}
    if unknown := sorted(set(names) - known):
        raise InputError(
            f"There is no experiment {unknown[0]}; there are {', '.join(sorted(known))}."
        )
    if not names:
        return [each for each in EXPERIMENTS if each.recipe == "portrait"]
    found = [each for each in EXPERIMENTS if each.name in names]
    if len({each.recipe for each in found}) > 1:
        raise InputError(f"{', '.join(names)} are of several nets; run those of one at a time.")
    return found


def run(names: Sequence[str], scale: float, split: str, every: int, dataset: Path) -> dict:
    """Train and measure experiments, and return the report."""
    experiments = chosen(names)
    recipe = experiments[0].recipe
    if split == "test":
        portraits = Dataset.open(dataset).test[::every]
    else:
        portraits = validation_portraits(dataset, every)
    errors = {}
    for each in experiments:
        stage = train(each, scale, dataset)
        errors[each.name] = experiment_errors(each, stage, stage.result, portraits)
    report = ablation_report(experiments, errors, people_of(dataset, portraits))
    return {"recipe": recipe, "scale": scale, "split": split, **report}


def keep_report(report: Mapping[str, Any]) -> None:
    """Write a report, with those rows of an earlier one that it does not have itself."""
    path = results_of(report)
    earlier = read_report(path, COMMAND)["rows"] if path.is_file() else []
    rows = {row["name"]: row for row in [*earlier, *report["rows"]]}
    order = [each.name for each in EXPERIMENTS if each.name in rows]
    write_report(path, {**report, "rows": [rows[name] for name in order]})


def put_into_docs() -> None:
    """Renew the tables whose reports exist.

    Raises
    ------
    InputError
        If no report exists.
    """
    found = {recipe: reports_of(recipe) for recipe in SECTIONS}
    if not any(found.values()):
        raise InputError(f"{OUT} holds no report; run `{COMMAND}` first.")
    for recipe, (section, command) in SECTIONS.items():
        if reports := found[recipe]:
            renew_section(DOCS, section, command, "\n\n".join(map(ablation_table, reports)))


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the experiments")
    study = commands.add_parser("run", help="train and measure")
    study.add_argument("names", nargs="*", metavar="NAME", help="experiments (portrait-lite's)")
    study.add_argument("--split", choices=("validation", "test"), default="validation")
    single = commands.add_parser("install", help="train one for the study's table")
    single.add_argument("name")
    for command in (study, single):
        command.add_argument("--scale", type=positive, default=1.0, help="of every stage's length")
        command.add_argument(
            "--every", type=count, default=EVERY, metavar="N", help=f"every N-th photo ({EVERY})"
        )
        command.add_argument("--dataset", type=named_path, default=PORTRAIT_SET)
    commands.add_parser("docs", help=f"put the tables into {shown(DOCS)}")
    options = parser.parse_args(argv)
    if options.command == "list":
        for each in EXPERIMENTS:
            print(f"{each.name:18s} {each.title}")
        return 0
    if options.command == "docs":
        put_into_docs()
        return 0
    if options.scale > 1:
        raise InputError(f"--scale {options.scale} is out of range; give up to 1.")
    if options.command == "install":
        (experiment,) = chosen([options.name])
        print(f"wrote {install(experiment, options.scale, options.dataset, options.every)}")
    else:
        report = run(options.names, options.scale, options.split, options.every, options.dataset)
        keep_report(report)
        print(ablation_table(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main, notes=True))
