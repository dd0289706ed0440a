#!/usr/bin/env python3
"""Measure mattes, a model's or anybody's, on a test list or on any folder of photos.

    tools/test_net.py                                   # the default model on data/benchmark
    tools/test_net.py --every 5                         # a quick look
    tools/test_net.py --model selfie --dataset data/sample
    tools/test_net.py --mattes mattes-of-another-program
    tools/test_net.py --folder photos-with-mattes

Printed and written are gradient and connectivity errors in the paper's convention (dapm, in
the units of Table 1) and in the benchmark's (rhemann), SAD and MSE (see
tools/evaluation/metrics.py), in all pixels and in the unknown region of the true trimap: for
each image, as means with standard errors and confidence intervals over people, and for an
all-0.5 matte on the same images as a reference.  Where all true mattes of a folder (layouts:
tools/evaluation/photo_folders.py) are hard, intersection over union and that of the
boundaries take their place.  Writes errors.csv, errors.json, errors.tex and
contact_sheet.png.  A run that was stopped goes on where it was when it is started again.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import datetime
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data_prep.common.errors import run_program
from data_prep.common.files import require_folder
from data_prep.common.options import count, named_path
from data_prep.datasets.dataset import Dataset, check_portraits
from data_prep.datasets.manifest import JOURNAL
from data_prep.datasets.resume import Journal
from tools.evaluation.contact_sheet import SHEET, SheetRow, representative, write_contact_sheet
from tools.evaluation.error_report import (
    head_lines,
    keep_other_report,
    line,
    summary_lines,
    write_error_report,
)
from tools.evaluation.matte_sources import GivenMattes, MatteSource, ModelMattes, SegmenterMattes
from tools.evaluation.measuring import ALL, REGIONS, Measurement, PhotoErrors, Task
from tools.evaluation.photo_folders import PhotoFolder
from tools.evaluation.portraits import find_list, listed_portraits
from tools.evaluation.report import shown
from tools.evaluation.truths import (
    MASKS,
    MATTES,
    PhotoTruth,
    measured_as,
    truths_of_portraits,
)
from tools.matting.device import add_gpu_option, choose_gpu
from tools.matting.models import DEFAULT_MODEL, MODELS, ROOT, affinity_weight
from tools.matting.segmenter_settings import SegmenterSettings

DATASET = ROOT / "data/benchmark"
WORKERS = 2
IN_PLACE_OF_THE_MODEL = ("mattes", "segmenter")  # options
SHEET_ROWS = 12


@dataclass(frozen=True)
class MeasuredSet:
    """What is tested on.

    Attributes
    ----------
    place : Path
    truths : list of PhotoTruth
    kind : {"mattes", "masks"}
        What is measured.
    about : dict
        Entries of errors.json.
    """

    place: Path
    truths: list[PhotoTruth]
    kind: str
    about: dict[str, object]

    @classmethod
    def of(cls, options: argparse.Namespace) -> MeasuredSet:
        """A folder of photos, or a dataset's list; bad files are named before hours of work."""
        place = options.folder or shown(options.dataset)
        if options.folder:
            folder = PhotoFolder.of(options.folder)
            if folder.remark:
                print(folder.remark)
            truths = folder.truths[:: options.every]
            kind = measured_as(truths)
            about: dict[str, object] = {"folder": str(options.folder)}
        else:
            dataset = Dataset.open(options.dataset, test_only=True)
            for note in dataset.notes:
                print(note)
            portraits = listed_portraits(dataset, options.list)[:: options.every]
            check_portraits(dataset.folder, portraits)
            truths = truths_of_portraits(dataset.folder, portraits)
            kind = MATTES
            listed = find_list(dataset, options.list) if options.list else dataset.list_of("test")
            listed = str(listed).replace(str(options.dataset), str(place))
            about = {"dataset": str(place), "list": listed}
        about |= {"every": options.every, "listed_images": len(truths)}
        return cls(place, truths, options.measure or kind, about)


def source_of(options: argparse.Namespace, truths: Sequence[PhotoTruth]) -> MatteSource:
    """What gives the mattes."""
    if options.mattes:
        return GivenMattes.of(options.mattes, truths)
    if options.segmenter:
        settings = SegmenterSettings.read(options.segmenter, options.segmenter_settings)
        return SegmenterMattes(options.mu, settings)
    return ModelMattes(
        options.mu, options.model, options.deploy, options.weights, options.shape_mask
    )


def write_sheet(
    out: Path,
    task: Task,
    truths: Sequence[PhotoTruth],
    errors: Sequence[PhotoErrors],
    rows: Mapping[str, SheetRow],
    title: str,
) -> None:
    """Draw images from the best to the worst into `SHEET`.

    Where all images are measured and an earlier run measured some of those, they are matted
    once more; else only images of this run are drawn.
    """
    if len(errors) == len(truths):
        by_name = {each.name: each for each in truths}
        chosen = [
            rows.get(each.name) or task.measure(by_name[each.name])[1]
            for each in representative(errors, SHEET_ROWS)
        ]
    else:
        chosen = representative(list(rows.values()), SHEET_ROWS)
    if chosen:
        write_contact_sheet(out / SHEET, chosen, title)


def measure(options: argparse.Namespace) -> None:
    """Measure, print and write."""
    tested = MeasuredSet.of(options)
    source = source_of(options, tested.truths)
    source.load()  # a bad net is named at once
    task = Task(source, tested.kind, options.region)
    place = f"_{options.folder.resolve().name}" if options.folder else ""
    out = options.out or Path("out") / f"test_{source.name}{place}"
    require_folder(out)
    measurement = Measurement(task, tested.truths, Journal(out))
    if measurement.known:
        print(
            f"{measurement.known} of {len(tested.truths)} images were measured before; without "
            f"{out / JOURNAL} they are measured again."
        )
    about = {
        "mattes_of": source.name,
        **source.about,
        **tested.about,
        "measured": tested.kind,
        "region": options.region,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    keep_other_report(out, about)
    errors: list[PhotoErrors] = []
    rows: dict[str, SheetRow] = {}
    print(*head_lines(tested.kind), sep="\n")
    progress = tqdm(total=len(tested.truths), desc=source.name, unit="image")
    try:
        with closing(measurement.results(options.workers)) as results:
            for found, row in results:
                errors.append(found)
                if row is not None:
                    rows[found.name] = row
                tqdm.write(line(found.name, tested.kind, found.values[options.region]))
                progress.update()
    finally:
        progress.close()
        # Results are written after Ctrl-C or a broken file, too.
        if errors:
            print(*summary_lines(errors, tested.kind), sep="\n")
            count = f"{len(errors)} of {len(tested.truths)} images"
            write_error_report(out, errors, tested.kind, source.name, about)
            title = f"{source.name} on {count} of {tested.place}"
            write_sheet(out, task, tested.truths, errors, rows, title)
            print(f"{count} tested; results are in {out}.")
    measurement.end()


def main(argv: list[str] | None = None) -> int:
    """Test one model, segmenter or folder of mattes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=named_path, help=f"default: {shown(DATASET)}")
    parser.add_argument(
        "--list",
        type=named_path,
        metavar="FILE",
        help="which of its portraits to test: a text file of their names without suffixes, one a "
        "line (default: its test.txt)",
    )
    parser.add_argument(
        "--folder",
        type=named_path,
        help="in place of a dataset: photos and their true mattes or masks, in a common layout",
    )
    parser.add_argument("--every", type=count, default=1, metavar="N", help="every Nth image (1)")
    parser.add_argument(
        "--workers", type=count, default=WORKERS, metavar="N", help=f"processes ({WORKERS})"
    )
    parser.add_argument(
        "--region",
        choices=REGIONS,
        default=ALL,
        help="whose errors each image's line and the contact sheet show; both are measured",
    )
    parser.add_argument(
        "--measure",
        choices=(MATTES, MASKS),
        help="SAD, MSE, gradient and connectivity, or IoU (default: the latter for a folder "
        "whose true mattes are all hard)",
    )
    parser.add_argument("--out", type=named_path, help="folder (default: out/test_MODEL)")
    mattes = parser.add_argument_group("whose mattes")
    mattes.add_argument("--model", choices=MODELS, help=f"default: {DEFAULT_MODEL}")
    mattes.add_argument("--deploy", type=named_path, help="deploy prototxt (default: the model's)")
    mattes.add_argument("--weights", type=named_path, help="caffemodel (default: the model's)")
    mattes.add_argument("--shape-mask", type=named_path, help="shape mask (default: the model's)")
    mattes.add_argument(
        "--nonlocal",
        dest="mu",
        metavar="MU",
        type=affinity_weight,
        help="as tools/matte.py has it",
    )
    mattes.add_argument(
        "--segmenter", type=named_path, help="in place of the model, as tools/matte.py"
    )
    mattes.add_argument("--segmenter-settings", metavar="FILE.json|JSON", help="the same")
    mattes.add_argument(
        "--mattes",
        type=named_path,
        help="folder of mattes to measure in place of a model's, with the photos' names: gray or "
        "cut-outs, of any depth",
    )
    add_gpu_option(parser)
    options = parser.parse_args(argv)
    for name in ("dataset", "list"):
        if options.folder and getattr(options, name):
            parser.error(f"give not both of --folder and --{name}")
    options.dataset = options.dataset or DATASET
    given = [name for name in IN_PLACE_OF_THE_MODEL if getattr(options, name)]
    if len(given) > 1:
        parser.error("give one of --mattes and --segmenter")
    for name in ("model", "deploy", "weights", "shape_mask"):
        if given and getattr(options, name):
            parser.error(f"--{name.replace('_', '-')} is of the model that --{given[0]} replaces")
    if options.mattes and options.mu is not None:
        parser.error("--nonlocal is of the solve, which --mattes leaves out")
    options.model = options.model or DEFAULT_MODEL
    if options.segmenter_settings and not options.segmenter:
        parser.error("--segmenter-settings needs --segmenter")
    choose_gpu(options.gpu)  # for the workers, which inherit it
    measure(options)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
