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
from data_prep.dataset import Dataset, Portrait, check_portraits, load_portrait
from data_prep.datasets.lists import PortraitIndex, read_entries, repetitions
from data_prep.datasets.matte_checks import check_matte
from data_prep.errors import InputError, run_program
from data_prep.images import atomic_write
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


def find_list(dataset: Dataset, list_file: Path) -> Path:
    """A list, looked for in the dataset's folder where it is not found as it is named.

    Raises
    ------
    InputError
        If it is in neither place.
    """
    places = (list_file, dataset.folder / list_file)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(
            f"{list_file} does not exist, here or in {dataset.folder}; "
            "give a file with one image stem a line."
        )
    return found


def listed_portraits(dataset: Dataset, list_file: Path | None) -> list[Portrait]:
    """Portraits of a list; of the dataset's test list where none is given.

    Parameters
    ----------
    dataset : Dataset
    list_file : Path or None
        Names of portraits that are on a list of the dataset, in any form that
        `data_prep.datasets.lists` reads.

    Raises
    ------
    InputError
        If the list is missing or empty, names what is on no list of the dataset, or
        names a portrait twice, which would count twice in the mean.
    """
    if list_file is None:
        return dataset.test
    found = find_list(dataset, list_file)
    known = {each.stem: each for each in dataset.portraits + dataset.validation}
    places = (dataset.folder / "images", dataset.folder / "mattes")
    described = f"the name of a portrait on a list of {dataset.folder}"
    index = PortraitIndex(dataset.folder, places, known, described)
    entries, problems = read_entries(found, index)
    problems += repetitions({found: entries})
    if problems:
        raise InputError("\n".join(f"{each.file}: {each.reason}." for each in problems))
    return [known[stem] for _, stem in entries]


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
        If `load_portrait` refuses the portrait, its matte is inverted, or it has no
        unknown region where only that counts.
    """
    photo, matte = load_portrait(portrait)
    truth = matte / 255.0
    region = unknown_region(truth) if unknown_only else None
    if region is not None and not region.any():
        raise InputError(
            f"{portrait.matte} has no fractional pixel, so no unknown region; "
            "test with --region all."
        )
    prediction = predict(photo)
    if prediction.faces:
        check_matte(matte, portrait.matte, prediction.faces[0])
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

    dataset = Dataset.open(options.dataset)
    for note in dataset.notes:
        print(note)
    portraits = listed_portraits(dataset, options.list)
    predictor = Predictor(options.model, options.deploy, options.weights, options.shape_mask)
    check_portraits(dataset.folder, portraits)  # now, not after hours
    about = {
        "model": options.model,
        "deploy": str(predictor.deploy),
        "weights": str(predictor.weights),
        "weights_sha256": sha256_of(predictor.weights),
        "dataset": str(options.dataset),
        "list": str(find_list(dataset, options.list)) if options.list else dataset.list_of("test"),
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
