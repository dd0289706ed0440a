#!/usr/bin/env python3
"""Run a net over a test list, or any folder of photos, and print the errors of its mattes.

    tools/test_net.py --model selfie --dataset data/sample
    tools/test_net.py --folder photos-with-mattes
    tools/test_net.py --folder photos-with-mattes --mattes mattes-of-another-program

For a test list: gradient and connectivity errors in the paper's convention (dapm, in the units
of Table 1) and in the benchmark's (rhemann), SAD and MSE (see
tools/evaluation/metrics.py), for each image, as a mean with its standard error, and for
an all-0.5 matte on the same images as a reference.  For a folder (layouts:
tools/evaluation/photo_folders.py), the same measures and SAD scaled to 600 x 800 where the
true mattes are soft, intersection over union and that of the boundaries where all are hard.
Writes errors.csv, errors.json and contact_sheet.png.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import csv
import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from data_prep.common.digests import sha256_of
from data_prep.common.errors import run_program
from data_prep.common.files import atomic_write
from data_prep.datasets.dataset import Dataset, check_portraits
from tools.evaluation.contact_sheet import representative, write_contact_sheet
from tools.evaluation.estimates import Estimate, estimate, estimates
from tools.evaluation.metrics import MatteErrors
from tools.evaluation.photo_folders import (
    MASKS,
    MATTES,
    GivenMattes,
    PhotoFolder,
    PhotoResult,
    measure_photos,
    measured_as,
    predicted_by,
)
from tools.evaluation.photo_folders import PRINTED as PRINTED_OF_FOLDERS
from tools.evaluation.portraits import (
    PRINTED,
    REFERENCE_ALPHA,
    PortraitResult,
    evaluate_portraits,
    find_list,
    listed_portraits,
)
from tools.matting.device import add_gpu_option, choose_gpu
from tools.matting.models import DEFAULT_MODEL, MODELS, affinity_weight
from tools.matting.predictor import Predictor
from tools.matting.segmenter import Segmenter
from tools.matting.segmenter_settings import SegmenterSettings
from tools.matting.session import MattingSession

SHEET_ROWS = 12


def table_line(label: str, values: Mapping[str, float | None]) -> str:
    """One printed line, in the units of `PRINTED`; "-" for values that are None."""
    cells = []
    for name, (_, unit) in PRINTED.items():
        value = values[name]
        cells.append(f"{'-':>9}" if value is None else f"{value / unit:9.2f}")
    return f"{label:<24.24}" + " ".join(cells)


def table_head() -> str:
    """The conventions and the measures, in two lines."""
    conventions = f"{'':24}{'dapm':>9} {'':9} {'rhemann':>9}"
    return f"{conventions}\n{'image':<24}" + " ".join(f"{h:>9}" for h, _ in PRINTED.values())


def net_estimates(results: Sequence[PortraitResult]) -> dict[str, Estimate]:
    """Mean errors of the net's mattes."""
    return estimates({each.stem: each.errors for each in results})


def reference_means(results: Sequence[PortraitResult]) -> dict[str, float]:
    """Mean errors of the reference mattes."""
    found = estimates({each.stem: each.reference for each in results})
    return {measure: each.mean for measure, each in found.items()}


def summary_lines(results: Sequence[PortraitResult]) -> Iterable[str]:
    """Lines with the mean, its standard error and the reference."""
    found = net_estimates(results)
    yield table_line(f"mean of {len(results)}", {m: each.mean for m, each in found.items()})
    yield table_line("standard error", {m: each.standard_error for m, each in found.items()})
    yield table_line(f"all-{REFERENCE_ALPHA} matte", reference_means(results))


def write_results(
    folder: Path, results: Sequence[PortraitResult], about: dict[str, object], title: str
) -> None:
    """Write errors.csv, errors.json and contact_sheet.png.

    Parameters
    ----------
    folder : Path
        Made if missing.
    results : sequence of PortraitResult
        At least one.
    about : dict
        Model, weights and dataset; the first entries of errors.json.
    title : str
        Heading of the contact sheet.
    """
    found = net_estimates(results)
    rows = [(each.stem, each.face_found, asdict(each.errors)) for each in results]
    write_csv(folder / "errors.csv", MatteErrors.names(), rows)
    report = about | {
        "images": len(results),
        "mean": {measure: each.mean for measure, each in found.items()},
        "standard_error": {measure: each.standard_error for measure, each in found.items()},
        "reference": {"alpha": REFERENCE_ALPHA, "mean": reference_means(results)},
        "errors": {each.stem: asdict(each.errors) for each in results},
    }
    write_json(folder / "errors.json", report)
    sheet = representative([each.row for each in results], SHEET_ROWS)
    write_contact_sheet(folder / "contact_sheet.png", sheet, title)


def write_csv(
    path: Path, names: Sequence[str], rows: Iterable[tuple[str, bool, Mapping[str, float]]]
) -> None:
    """Write a line for each image: its name, whether it shows a face, its measures."""
    with atomic_write(path) as scratch, open(scratch, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "face_found", *names])
        for image, face_found, values in rows:
            writer.writerow([image, int(face_found), *(values[name] for name in names)])


def write_json(path: Path, report: Mapping[str, object]) -> None:
    """Write a report."""
    with atomic_write(path) as scratch:
        scratch.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")


def folder_line(label: str, kind: str, values: Mapping[str, float | None]) -> str:
    """One printed line of a folder, in the units of its measures; "-" for None."""
    cells = []
    for name, (heading, unit) in PRINTED_OF_FOLDERS[kind].items():
        value, width = values[name], max(9, len(heading))
        # IoU lies in [0, 1], the others do not.
        digits = 4 if kind == MASKS else 2
        cells.append(f"{'-':>{width}}" if value is None else f"{value / unit:{width}.{digits}f}")
    return f"{label:<24.24}" + " ".join(cells)


def folder_head(kind: str) -> str:
    """The headings over `folder_line`."""
    headings = [heading for heading, _ in PRINTED_OF_FOLDERS[kind].values()]
    return f"{'image':<24}" + " ".join(f"{each:>{max(9, len(each))}}" for each in headings)


def folder_estimates(results: Sequence[PhotoResult], kind: str) -> dict[str, Estimate]:
    """Means and standard errors of the measures of a folder."""
    names = PRINTED_OF_FOLDERS[kind]
    return {name: estimate([each.values[name] for each in results]) for name in names}


def write_folder_results(
    out: Path, results: Sequence[PhotoResult], kind: str, about: dict[str, object], title: str
) -> None:
    """Write errors.csv, errors.json and contact_sheet.png, as `write_results`."""
    found = folder_estimates(results, kind)
    rows = [(each.name, each.face_found, each.values) for each in results]
    write_csv(out / "errors.csv", list(found), rows)
    report = about | {
        "images": len(results),
        "mean": {name: each.mean for name, each in found.items()},
        "standard_error": {name: each.standard_error for name, each in found.items()},
        "errors": {each.name: dict(each.values) for each in results},
    }
    write_json(out / "errors.json", report)
    sheet = representative([each.row for each in results], SHEET_ROWS)
    write_contact_sheet(out / "contact_sheet.png", sheet, title)


def measure_folder(options: argparse.Namespace) -> int:
    """Test a model, a segmenter or mattes from outside on a folder of photos."""
    folder = PhotoFolder.of(options.folder)
    if folder.remark:
        print(folder.remark)
    truths = folder.truths[:: options.every]
    kind = measured_as(truths)  # bad files are named before hours of work
    kind = options.measure or kind
    about: dict[str, object] = {"folder": str(options.folder), "every": options.every}
    about["nonlocal"] = options.mu
    if options.mattes:
        name = str(options.mattes)
        matte_of = GivenMattes(options.mattes, truths)
    elif options.segmenter:
        name = str(options.segmenter)
        settings = SegmenterSettings.read(options.segmenter, options.segmenter_settings)
        about["segmenter_sha256"] = sha256_of(options.segmenter)
        matte_of = predicted_by(MattingSession(Segmenter(settings), options.mu))
    else:
        name = options.model
        predictor = _predictor(options)
        about |= {"weights": str(predictor.weights), "sha256": sha256_of(predictor.weights)}
        matte_of = predicted_by(MattingSession(predictor, options.mu))
    about |= {"mattes_of": name, "measured": kind, "region": options.region, "date": _now()}
    out = options.out or Path("out") / f"test_{Path(name).stem}_{options.folder.resolve().name}"
    results: list[PhotoResult] = []
    print(folder_head(kind))
    try:
        progress = tqdm(total=len(truths), desc=Path(name).name, unit="photo")
        for result in measure_photos(truths, matte_of, kind, options.region == "unknown"):
            results.append(result)
            tqdm.write(folder_line(result.name, kind, result.values))
            progress.update()
        progress.close()
    finally:
        # Results are kept after Ctrl-C or a broken file, too.
        if results:
            found = folder_estimates(results, kind)
            means = {measure: each.mean for measure, each in found.items()}
            errors = {measure: each.standard_error for measure, each in found.items()}
            print(folder_line(f"mean of {len(results)}", kind, means))
            print(folder_line("standard error", kind, errors))
            count = f"{len(results)} of {len(truths)} photos"
            title = f"{name} on {count} of {options.folder}"
            write_folder_results(out, results, kind, about, title)
            print(f"{count} tested; results are in {out}.")
    return 0


def _predictor(options: argparse.Namespace) -> Predictor:
    return Predictor(options.model, options.deploy, options.weights, options.shape_mask)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def main(argv: list[str] | None = None) -> int:
    """Test one model on one list."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=MODELS, default=DEFAULT_MODEL)
    parser.add_argument("--deploy", type=Path, help="deploy prototxt (default: the model's)")
    parser.add_argument("--weights", type=Path, help="caffemodel (default: the model's)")
    parser.add_argument("--shape-mask", type=Path, help="shape mask (default: the model's)")
    parser.add_argument(
        "--nonlocal",
        dest="mu",
        metavar="MU",
        type=affinity_weight,
        default=0.0,
        help="as tools/matte.py has it",
    )
    parser.add_argument("--dataset", type=Path, default=Path("data/sample"))
    parser.add_argument("--list", type=Path, help="stems to test (default: its test.txt)")
    parser.add_argument(
        "--region",
        choices=("all", "unknown"),
        default="all",
        help="count all pixels, or the unknown region of the true trimap",
    )
    parser.add_argument("--out", type=Path, help="folder (default: out/test_MODEL)")
    folders = parser.add_argument_group("any folder, in place of a dataset with its test list")
    folders.add_argument(
        "--folder", type=Path, help="photos and their true mattes or masks, in a common layout"
    )
    folders.add_argument(
        "--mattes",
        type=Path,
        help="folder of mattes to measure in place of a model's, with the photos' names: gray or "
        "cut-outs, of any depth",
    )
    folders.add_argument("--segmenter", type=Path, help="in place of the model, as tools/matte.py")
    folders.add_argument("--segmenter-settings", metavar="FILE.json|JSON", help="the same")
    folders.add_argument("--every", type=int, default=1, metavar="N", help="every Nth photo (1)")
    folders.add_argument(
        "--measure",
        choices=(MATTES, MASKS),
        help=f"SAD, MSE, gradient and connectivity, or IoU (default: {MASKS} if all are hard)",
    )
    add_gpu_option(parser)
    options = parser.parse_args(argv)
    choose_gpu(options.gpu)
    only = ("mattes", "segmenter", "segmenter_settings", "measure")
    if options.folder is None:
        if given := [name for name in only if getattr(options, name)]:
            parser.error(f"--{given[0].replace('_', '-')} takes --folder")
    elif options.list or (options.mattes and options.segmenter) or options.every < 1:
        parser.error(
            "--folder goes with --every from 1, without --list, and with one of --mattes "
            "and --segmenter at most"
        )
    else:
        return measure_folder(options)
    folder = options.out or Path("out") / f"test_{options.model}"

    dataset = Dataset.open(options.dataset, test_only=True)
    for note in dataset.notes:
        print(note)
    portraits = listed_portraits(dataset, options.list)
    predictor = _predictor(options)
    check_portraits(dataset.folder, portraits)  # bad files are named before hours of work
    about = {
        "model": options.model,
        "deploy": str(predictor.deploy),
        "weights": str(predictor.weights),
        "weights_sha256": sha256_of(predictor.weights),
        "nonlocal": options.mu,
        "dataset": str(options.dataset),
        "list": str(find_list(dataset, options.list)) if options.list else dataset.list_of("test"),
        "listed_images": len(portraits),
        "region": options.region,
        "date": _now(),
    }
    results: list[PortraitResult] = []
    print(table_head())
    try:
        progress = tqdm(portraits, desc=options.model, unit="image")
        matte_of = MattingSession(predictor, options.mu).matte
        for result in evaluate_portraits(matte_of, progress, options.region == "unknown"):
            results.append(result)
            tqdm.write(table_line(result.stem, asdict(result.errors)))
    finally:
        # Results are kept after Ctrl-C or a broken file, too.
        if results:
            print(*summary_lines(results), sep="\n")
            count = f"{len(results)} of {len(portraits)} images"
            title = f"{options.model} on {count} of {options.dataset}"
            write_results(folder, results, about, title)
            print(f"{count} tested; results are in {folder}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
