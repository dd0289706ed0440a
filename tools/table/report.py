"""Table 1 as a report, in Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_prep.common.files import atomic_write
from tools.evaluation.estimates import as_dicts, compare, estimates, write_errors
from tools.evaluation.measuring import UNKNOWN_REGION
from tools.evaluation.metrics import MatteErrors
from tools.evaluation.report import COLUMNS, describe_machine, estimate_cell, markdown_table
from tools.evaluation.strata import MEASURES, stems_by_stratum
from tools.evaluation.trimaps import BAND_WIDTHS, TrimapMeasures
from tools.table.measuring import MeasuredRow
from tools.table.rows import Settings

#: The row that the others are compared with.
JUDGED = "ours"
#: Differences within one chain of steps: (first, second, title).
CHAINS = (
    ("deeplab_crf", "deeplab", "DeepLab with − without dense CRF"),
    ("crfrnn", "fcn", "CRF-RNN − FCN"),
    ("ours_nomask", "fcn", "ours without shape mask − FCN"),
    ("ours", "ours_nomask", "ours with − without shape mask"),
)
LATEX_HEADINGS = {
    "sad": "SAD",
    "mse": r"MSE ($10^{-3}$)",
    "dapm_gradient": r"Grad.\ ($10^{-3}$)",
    "dapm_connectivity": r"Conn.\ ($10^{-4}$)",
}


# --- the report ---------------------------------------------------------------------


def trimap_measures(measured: MeasuredRow) -> dict[str, Any]:
    """Confusion matrix, `TrimapMeasures`, and accuracy in bands round the true boundary."""
    return {
        "confusion": measured.confusion.tolist(),
        **asdict(TrimapMeasures.of(measured.confusion)),
        "band_accuracy": [TrimapMeasures.of(each).pixel_accuracy for each in measured.bands],
    }


def errors_by_stratum(
    measured: Sequence[MeasuredRow], contents: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Errors of the rows where photos show the same thing (`tools.evaluation.strata`).

    Parameters
    ----------
    measured : sequence of MeasuredRow
    contents : mapping
        What the studio chose for the photos, by name; others are left out.
    """
    errors = {each.row.name: each.errors() for each in measured}
    people = measured[0].people
    return [
        {
            "title": title,
            "images": len(names),
            "rows": {
                row: as_dicts(estimates({name: found[name] for name in names}, people))
                for row, found in errors.items()
            },
        }
        for title, names in stems_by_stratum(contents).items()
    ]


def table_report(
    measured: Sequence[MeasuredRow], contents: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Content of docs/table1.json.

    Means, differences, errors by stratum, trimaps, seconds, choices and iterations.

    Parameters
    ----------
    measured : sequence of MeasuredRow
    contents : mapping
        See `errors_by_stratum`.
    """
    rows, by_name = {}, {each.row.name: each for each in measured}
    judged = by_name.get(JUDGED)
    for each in measured:
        people = each.people
        unknown = each.errors(UNKNOWN_REGION)
        entry: dict[str, Any] = {
            "title": each.row.title,
            "is_reference": each.row.is_reference,
            "paper": each.row.paper,
            "iterations": each.iterations,
            "weights": each.choice.get("weights"),
            "source": each.row.source,
            "settings": Settings.from_json(each.choice["settings"]).to_json()
            if each.row.axes
            else None,
            "seconds": asdict(each.seconds),
            "faces_missed": sum(not photo.face_found for photo in each.photos),
            "errors": as_dicts(estimates(each.errors(), people)),
            "errors_unknown": as_dicts(estimates(unknown, people)) if unknown else None,
            "trimap": trimap_measures(each),
        }
        if judged is not None and each.row.name != JUDGED:
            entry["ours_minus_row"] = as_dicts(compare(judged.errors(), each.errors(), people))
        rows[each.row.name] = entry
    chains = [
        {
            "title": title,
            "errors": as_dicts(
                compare(by_name[first].errors(), by_name[second].errors(), by_name[first].people)
            ),
        }
        for first, second, title in CHAINS
        if first in by_name and second in by_name
    ]
    return {
        "machine": describe_machine(),
        "images": len(measured[0].photos),
        "people": len(set(measured[0].people.values())),
        "rows": rows,
        "chains": chains,
        "strata": errors_by_stratum(measured, contents),
    }


# --- Markdown -----------------------------------------------------------------------


def markdown(report: Mapping[str, Any]) -> str:
    """The tables of a report."""
    rows = report["rows"]
    parts = [
        f"Means over {report['images']} test images of {report['people']} people "
        f"({report['machine']['date']}) ± the standard error over images, in brackets the one "
        "over people. Iterations are those of the warm start and those after it:",
        _errors_table(rows),
        f"{rows[JUDGED]['title'].capitalize()} − row, image by image (negative: ours is better):"
        if JUDGED in rows
        else "",
        _differences_table(rows),
        _chains_table(report["chains"]),
        "Errors of the rows over ours, here and in the paper (its absolute errors are those of "
        "other photos):"
        if JUDGED in rows
        else "",
        _ratios_table(rows),
        "Trimaps before they are widened, over all pixels, and the share of the pixels that are "
        "truly unknown which they call so. Those of ours are not widened, but taken with the bias "
        "of unknown that was chosen in place of a width:",
        _trimaps_table(rows),
        "Share of the pixels whose class is right, in bands round the true boundaries of the three "
        "classes, by their width in pixels to either side:",
        _bands_table(rows),
        *_strata_parts(report["strata"], rows),
        "Seconds of a photo in one process, with everything loaded:",
        _seconds_table(rows),
        "What was chosen on validation people (`docs/table1_choices.json` has everything that was "
        "tried); a width is in pixels of 600 x 800, inside / outside of the border:",
        _choices_table(rows),
        _oracle_part(report.get("oracle"), rows),
        _faces(rows),
    ]
    return "\n\n".join(part for part in parts if part)


def _iterations(row: Mapping[str, Any]) -> str:
    return " + ".join(map(str, row["iterations"])) if row["iterations"] else ""


def _errors_table(rows: Mapping[str, Any]) -> str:
    head = ["", "iterations", *(column.heading for column in COLUMNS)]
    cells = [
        [
            _title(row),
            _iterations(row),
            *(estimate_cell(row["errors"][column.measure], column.unit) for column in COLUMNS),
        ]
        for row in rows.values()
    ]
    return markdown_table(head, cells)


def _title(row: Mapping[str, Any]) -> str:
    return f"*{row['title']}*" if row["is_reference"] else row["title"]


def _differences_table(rows: Mapping[str, Any]) -> str:
    compared = [row for row in rows.values() if "ours_minus_row" in row]
    return _pairs_table([(_title(row), row["ours_minus_row"]) for row in compared])


def _chains_table(chains: Sequence[Mapping[str, Any]]) -> str:
    return _pairs_table([(each["title"], each["errors"]) for each in chains])


def _pairs_table(pairs: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    if not pairs:
        return ""
    head = ["", *(column.heading for column in COLUMNS), "better gradient", "better SAD"]
    cells = [
        [
            title,
            *(
                estimate_cell(errors[column.measure]["difference"], column.unit, sign="+")
                for column in COLUMNS
            ),
            f"{errors['dapm_gradient']['better']:.0%} of images",
            f"{errors['sad']['better']:.0%} of images",
        ]
        for title, errors in pairs
    ]
    return markdown_table(head, cells)


def _ratios_table(rows: Mapping[str, Any]) -> str:
    if JUDGED not in rows:
        return ""
    ours = rows[JUDGED]
    head = ["", "gradient", "in the paper", "connectivity", "in the paper", "SAD"]
    cells = []
    for row in rows.values():
        if row["is_reference"]:
            continue
        ratios = {
            measure: f"{row['errors'][measure]['mean'] / ours['errors'][measure]['mean']:.2f}"
            for measure in ("dapm_gradient", "dapm_connectivity", "sad")
        }
        paper = ["", ""]
        if row["paper"]:
            paper = [f"{theirs / own:.2f}" for theirs, own in zip(row["paper"], ours["paper"])]
        cells.append(
            [
                row["title"],
                ratios["dapm_gradient"],
                paper[0],
                ratios["dapm_connectivity"],
                paper[1],
                ratios["sad"],
            ]
        )
    return markdown_table(head, cells)


def _trimaps_table(rows: Mapping[str, Any]) -> str:
    head = ["", "mean IoU", "IoU of foreground", "background", "unknown", "recall", "share"]
    cells = [
        [
            _title(row),
            f"{row['trimap']['mean_iou']:.3f}",
            *(f"{value:.3f}" for value in row["trimap"]["iou"]),
            f"{row['trimap']['recall_of_unknown']:.1%}",
            f"{row['trimap']['share_of_unknown']:.1%}",
        ]
        for row in rows.values()
    ]
    return markdown_table(head, cells)


def _bands_table(rows: Mapping[str, Any]) -> str:
    head = ["", *map(str, BAND_WIDTHS)]
    cells = [
        [_title(row), *(f"{share:.1%}" for share in row["trimap"]["band_accuracy"])]
        for row in rows.values()
    ]
    return markdown_table(head, cells)


def _strata_parts(strata: Sequence[Mapping[str, Any]], rows: Mapping[str, Any]) -> list[str]:
    """A table for each measure: rows by what is on the photos."""
    if not strata:
        return []
    head = ["", *(f"{each['title']} ({each['images']} images)" for each in strata)]
    parts = []
    for column in (column for column in COLUMNS if column.measure in MEASURES):
        cells = [
            [
                _title(row),
                *(
                    estimate_cell(each["rows"][name][column.measure], column.unit)
                    for each in strata
                ),
            ]
            for name, row in rows.items()
        ]
        parts += [f"{column.heading} by what is on the image:", markdown_table(head, cells)]
    return parts


def _seconds_table(rows: Mapping[str, Any]) -> str:
    head = ["", "faces", "net, CRF or cut", "solve", "in all"]
    cells = []
    for row in rows.values():
        parts = list(row["seconds"].values())
        cells.append([_title(row), *(f"{part:.2f}" for part in [*parts, sum(parts)])])
    return markdown_table(head, cells)


def _choices_table(rows: Mapping[str, Any]) -> str:
    head = ["", "snapshot", "width", "λ", "ε", "window", "dense CRF", "sharpness", "unknown bias"]
    cells = []
    for row in rows.values():
        settings, weights = row["settings"], row["weights"]
        snapshot = "mean of {} to {}".format(*weights["iterations"]) if weights else ""
        if settings is None:  # nothing to choose
            continue
        if row["source"] == "matte":  # its own matting layer has all the others
            own = (f"{settings[name]:g}" for name in ("sharpness", "unknown_bias"))
            cells.append([_title(row), snapshot, *[""] * 5, *own])
            continue
        side = 2 * settings["radius"] + 1
        cells.append(
            [
                _title(row),
                snapshot,
                _width(settings),
                f"{settings['lambda_']:g}",
                f"{settings['epsilon']:g}",
                f"{side} x {side}",
                _crf(settings["crf"]),
                "",
                "",
            ]
        )
    return markdown_table(head, cells)


def _oracle_part(oracle: Mapping[str, Any] | None, rows: Mapping[str, Any]) -> str:
    """What the best width on the test images themselves would give."""
    if not oracle:
        return ""
    head = ["", "chosen width", "gradient ×1e-3", "SAD ×1e3", "oracle", "gradient", "SAD"]
    cells = []
    for name, found in oracle["rows"].items():
        row = [_title(rows[name])]
        for which in ("chosen", "best"):
            trial = found[which]
            row += [str(trial["width"]), f"{trial['gradient'] * 1e3:.2f}", f"{trial['sad']:.2f}"]
        cells.append(row)
    return (
        f"For comparison only, the width that is best on {oracle['images']} of the test images "
        f"themselves (oracle), all else as chosen:\n\n{markdown_table(head, cells)}"
    )


def _width(settings: Mapping[str, Any]) -> str:
    return " / ".join(map(str, Settings.from_json(settings).widths))


def _crf(crf: Mapping[str, float] | None) -> str:
    if crf is None:
        return ""
    if not (crf["bilateral_weight"] or crf["spatial_weight"]):
        return "none is best"
    return (
        f"weights {crf['bilateral_weight']:g} and {crf['spatial_weight']:g}, "
        f"σ {crf['theta_alpha']:g}, {crf['theta_beta']:g} and {crf['theta_gamma']:g}, "
        f"unknown {crf['unknown_penalty']:g}"
    )


def _faces(rows: Mapping[str, Any]) -> str:
    missed = max(row["faces_missed"] for row in rows.values())
    return f"Faces that were not found, where methods answer without them: {missed}."


# --- files --------------------------------------------------------------------------


def latex(report: Mapping[str, Any]) -> str:
    """The means with their errors over people, as a table that needs no package."""
    columns = [each for each in COLUMNS if each.measure in LATEX_HEADINGS]
    head = " & ".join(["", *(LATEX_HEADINGS[each.measure] for each in columns)])
    lines = [
        f"% Means over {report['images']} images of {report['people']} people, with their",
        "% standard errors over people.",
        r"\begin{tabular}{l" + "r" * len(columns) + "}",
        r"\hline",
        head + r" \\",
        r"\hline",
    ]
    for row in report["rows"].values():
        cells = [row["title"]]
        for column in columns:
            value = row["errors"][column.measure]
            error = value["by_person"]
            text = f"{value['mean'] / column.unit:.2f}"
            cells.append(
                f"${text}$" if error is None else rf"${text} \pm {error / column.unit:.2f}$"
            )
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def write_tables(folder: Path, report: Mapping[str, Any], measured: Sequence[MeasuredRow]) -> None:
    """Write table1.csv, table1.tex, and errors.csv with every image."""
    names = MatteErrors.names()
    with atomic_write(folder / "table1.tex") as scratch:
        scratch.write_text(latex(report))
    with atomic_write(folder / "table1.csv") as scratch, open(scratch, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["row", *names, *(f"{name}_by_person" for name in names)])
        for name, row in report["rows"].items():
            values = [row["errors"][measure] for measure in names]
            writer.writerow([name, *(v["mean"] for v in values), *(v["by_person"] for v in values)])
    # All rows are measured on the same images.
    write_errors(
        folder / "errors.csv",
        {each.row.name: each.errors() for each in measured},
        measured[0].people,
    )
