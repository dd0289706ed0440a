#!/usr/bin/env python3
"""Run a net over a test list and print the errors of its mattes.

    tools/test_net.py --model selfie --dataset data/sample

Gradient and connectivity errors in the paper's convention (dapm, in the units
of Table 1) and in the benchmark's (rhemann), SAD and MSE (see
tools/metrics.py), for each image, as a mean with its standard error, and for
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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.assets import sha256_of
from data_prep.dataset import Dataset, Portrait, read_list
from data_prep.errors import InputError, run_program
from data_prep.images import atomic_write, read_matte, read_photo
from tools.contact_sheet import SheetRow, representative, sheet_row, write_contact_sheet
from tools.metrics import MatteErrors, evaluate, unknown_region
from tools.models import DEFAULT_MODEL, MODELS
from tools.predict import Prediction, Predictor

REFERENCE_ALPHA = 0.5
SHEET_ROWS = 12

# Heading and unit of each measure in print; files hold the bare numbers.
PRINTED = {
    "dapm_gradient": ("grad e-3", 1e-3),
    "dapm_connectivity": ("conn e-4", 1e-4),
    "rhemann_gradient": ("Grad", 1.0),
    "rhemann_connectivity": ("Conn", 1.0),
    "sad": ("SAD", 1.0),
    "mse": ("MSE e-3", 1e-3),
}


@dataclass(frozen=True)
class Result:
    """One portrait of the test list.

    Attributes
    ----------
    stem : str
    errors, reference : MatteErrors
        Of the net's matte and of the all-0.5 matte.
    face_found : bool
    row : SheetRow
        For the contact sheet.
    """

    stem: str
    errors: MatteErrors
    reference: MatteErrors
    face_found: bool
    row: SheetRow


def listed_portraits(dataset: Dataset, list_file: Path | None) -> list[Portrait]:
    """Portraits of a list; of the dataset's test list where none is given.

    Parameters
    ----------
    dataset : Dataset
    list_file : Path or None
        Stems of the dataset, one a line; a name of its own is looked for in
        the dataset's folder too.

    Raises
    ------
    InputError
        If the list is missing or empty, or names what the dataset has not.
    """
    if list_file is None:
        return dataset.test
    places = (list_file, dataset.folder / list_file)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(
            f"{list_file} does not exist, here or in {dataset.folder}; "
            "give a file with one image stem a line."
        )
    stems = read_list(found)
    known = {portrait.stem: portrait for portrait in dataset.portraits}
    missing = [stem for stem in stems if stem not in known]
    if missing:
        raise InputError(
            f"{found} names {missing[0]}, which is in no list of {dataset.folder}; "
            "correct the stem or add it to its test.txt."
        )
    if not stems:
        raise InputError(f"{found} is empty; write one image stem a line.")
    return [known[stem] for stem in stems]


def evaluate_portrait(
    predict: Callable[[np.ndarray], Prediction], portrait: Portrait, unknown_only: bool
) -> Result:
    """Predict the matte of one portrait and measure it against the truth.

    Parameters
    ----------
    predict : callable
        BGR photo to Prediction.
    portrait : Portrait
    unknown_only : bool
        Count the unknown region of the true trimap only.

    Raises
    ------
    InputError
        If a file cannot be read, or the matte has another size than its photo.
    """
    photo = read_photo(portrait.photo)
    truth = read_matte(portrait.matte) / 255.0
    if truth.shape != photo.shape[:2]:
        raise InputError(
            f"{portrait.matte} is {truth.shape[1]}x{truth.shape[0]} pixels, its photo "
            f"{photo.shape[1]}x{photo.shape[0]}; resize the matte to the photo."
        )
    region = unknown_region(truth) if unknown_only else None
    if region is not None and not region.any():
        raise InputError(
            f"{portrait.matte} has no fractional pixel, so no unknown region; "
            "test with --region all."
        )
    prediction = predict(photo)
    errors = evaluate(prediction.alpha, truth, region)
    caption = f"{portrait.stem}   " + "   ".join(
        f"{heading} {getattr(errors, name) / unit:.2f}"
        for name, (heading, unit) in PRINTED.items()
    )
    return Result(
        stem=portrait.stem,
        errors=errors,
        reference=evaluate(np.full_like(truth, REFERENCE_ALPHA), truth, region),
        face_found=prediction.face_found,
        row=sheet_row(
            caption, errors.sad, photo, prediction.probabilities, prediction.alpha, truth
        ),
    )


def mean_and_standard_error(
    errors: Sequence[MatteErrors],
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Mean of each measure and its standard error (None for a single image)."""
    table = np.array([[getattr(each, name) for name in PRINTED] for each in errors])
    means = dict(zip(PRINTED, table.mean(axis=0).tolist()))
    if len(errors) < 2:
        return means, dict.fromkeys(PRINTED)
    deviations = table.std(axis=0, ddof=1) / np.sqrt(len(errors))
    return means, dict(zip(PRINTED, deviations.tolist()))


def table_line(label: str, values: dict[str, float | None]) -> str:
    """One printed line, in the units of `PRINTED`."""
    cells = (
        f"{'-':>9}" if values[name] is None else f"{values[name] / unit:9.2f}"
        for name, (_, unit) in PRINTED.items()
    )
    return f"{label:<24.24}" + " ".join(cells)


def table_head() -> str:
    """Two lines: the conventions and the measures."""
    conventions = f"{'':24}{'dapm':>9} {'':9} {'rhemann':>9}"
    return f"{conventions}\n{'image':<24}" + " ".join(f"{h:>9}" for h, _ in PRINTED.values())


def summary_lines(results: Sequence[Result]) -> Iterable[str]:
    """Mean, standard error and the reference, as printed."""
    means, standard_errors = mean_and_standard_error([each.errors for each in results])
    references, _ = mean_and_standard_error([each.reference for each in results])
    yield table_line(f"mean of {len(results)}", means)
    yield table_line("standard error", standard_errors)
    yield table_line(f"all-{REFERENCE_ALPHA} matte", references)


def write_results(
    folder: Path, results: Sequence[Result], about: dict[str, object], title: str
) -> None:
    """Write errors.csv, errors.json and contact_sheet.png.

    Parameters
    ----------
    folder : Path
        Made if missing.
    results : sequence of Result
        At least one.
    about : dict
        What was tested; put at the head of errors.json.
    title : str
        Of the contact sheet.
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
    means, standard_errors = mean_and_standard_error([each.errors for each in results])
    references, _ = mean_and_standard_error([each.reference for each in results])
    report = about | {
        "images": len(results),
        "mean": means,
        "standard_error": standard_errors,
        "reference": {"alpha": REFERENCE_ALPHA, "mean": references},
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
        "--region", choices=("all", "unknown"), default="all",
        help="count all pixels, or the unknown region of the true trimap",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder (default: out/test_MODEL)")
    options = parser.parse_args(argv)
    folder = options.out or Path("out") / f"test_{options.model}"

    portraits = listed_portraits(Dataset.open(options.dataset), options.list)
    predictor = Predictor(options.model, options.deploy, options.weights, options.shape_mask)
    about = {
        "model": options.model,
        "deploy": str(predictor.deploy),
        "weights": str(predictor.weights),
        "weights_sha256": sha256_of(predictor.weights),
        "dataset": str(options.dataset),
        "list": str(options.list or options.dataset / "test.txt"),
        "listed_images": len(portraits),
        "region": options.region,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    results: list[Result] = []
    print(table_head())
    try:
        for portrait in tqdm(portraits, desc=options.model, unit="image"):
            results.append(
                evaluate_portrait(predictor, portrait, options.region == "unknown")
            )
            tqdm.write(table_line(portrait.stem, asdict(results[-1].errors)))
    finally:
        # Also after Ctrl-C or a broken file: what is computed is kept.
        if results:
            print(*summary_lines(results), sep="\n")
            count = f"{len(results)} of {len(portraits)} images"
            title = f"{options.model} on {count} of {options.dataset}"
            write_results(folder, results, about, title)
            print(f"{count} tested; results are in {folder}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
