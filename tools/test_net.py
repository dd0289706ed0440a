#!/usr/bin/env python3
"""Run a net over a test list and print the errors of its mattes.

    tools/test_net.py --model selfie --dataset data/sample

Gradient and connectivity errors in the paper's convention (dapm, in the units
of Table 1) and in the benchmark's (rhemann), SAD and MSE (see
tools/evaluation/metrics.py), for each image, as a mean with its standard error, and for
an all-0.5 matte on the same images as a reference.  Writes errors.csv,
errors.json and contact_sheet.png.
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
from tools.evaluation.estimates import Estimate, estimates
from tools.evaluation.metrics import MatteErrors
from tools.evaluation.portraits import (
    PRINTED,
    REFERENCE_ALPHA,
    PortraitResult,
    evaluate_portraits,
    find_list,
    listed_portraits,
)
from tools.matting.device import add_gpu_option, choose_gpu
from tools.matting.models import DEFAULT_MODEL, MODELS
from tools.matting.predictor import Predictor
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
    names = MatteErrors.names()
    with atomic_write(folder / "errors.csv") as scratch:
        with open(scratch, "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["image", "face_found", *names])
            for each in results:
                values = asdict(each.errors)
                writer.writerow(
                    [each.stem, int(each.face_found), *(values[name] for name in names)]
                )
    found = net_estimates(results)
    report = about | {
        "images": len(results),
        "mean": {measure: each.mean for measure, each in found.items()},
        "standard_error": {measure: each.standard_error for measure, each in found.items()},
        "reference": {"alpha": REFERENCE_ALPHA, "mean": reference_means(results)},
        "errors": {each.stem: asdict(each.errors) for each in results},
    }
    with atomic_write(folder / "errors.json") as scratch:
        scratch.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    rows = representative([each.row for each in results], SHEET_ROWS)
    write_contact_sheet(folder / "contact_sheet.png", rows, title)


def main(argv: list[str] | None = None) -> int:
    """Test one model on one list."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=MODELS, default=DEFAULT_MODEL)
    parser.add_argument("--deploy", type=Path, help="deploy prototxt (default: the model's)")
    parser.add_argument("--weights", type=Path, help="caffemodel (default: the model's)")
    parser.add_argument("--shape-mask", type=Path, help="shape mask (default: the model's)")
    parser.add_argument("--dataset", type=Path, default=Path("data/sample"))
    parser.add_argument("--list", type=Path, help="stems to test (default: its test.txt)")
    parser.add_argument(
        "--region",
        choices=("all", "unknown"),
        default="all",
        help="count all pixels, or the unknown region of the true trimap",
    )
    parser.add_argument("--out", type=Path, help="folder (default: out/test_MODEL)")
    add_gpu_option(parser)
    options = parser.parse_args(argv)
    choose_gpu(options.gpu)
    folder = options.out or Path("out") / f"test_{options.model}"

    dataset = Dataset.open(options.dataset)
    for note in dataset.notes:
        print(note)
    portraits = listed_portraits(dataset, options.list)
    predictor = Predictor(options.model, options.deploy, options.weights, options.shape_mask)
    check_portraits(dataset.folder, portraits)  # bad files are named before hours of work
    about = {
        "model": options.model,
        "deploy": str(predictor.deploy),
        "weights": str(predictor.weights),
        "weights_sha256": sha256_of(predictor.weights),
        "dataset": str(options.dataset),
        "list": str(find_list(dataset, options.list)) if options.list else dataset.list_of("test"),
        "listed_images": len(portraits),
        "region": options.region,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    results: list[PortraitResult] = []
    print(table_head())
    try:
        progress = tqdm(portraits, desc=options.model, unit="image")
        matte_of = MattingSession(predictor).matte
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
