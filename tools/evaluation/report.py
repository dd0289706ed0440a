"""Reports of measurements: the machine, JSON files, Markdown tables, sections of documents."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from tools.matting.models import ROOT

#: The document with the tables of the programs in `tools/benchmarks`.
BENCHMARK = ROOT / "docs/benchmark.md"


def shown(path: Path) -> Path:
    """A path as help and reports name it: below the checkout, or as it is outside."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def describe_machine(packages: Sequence[str] = ()) -> dict:
    """What measured figures depend on besides the code: date, processor, threads, versions.

    Parameters
    ----------
    packages : sequence of str
        Distributions whose versions are included.
    """
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": datetime.date.today().isoformat(),
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        # How threads wait for work: "active" ones are faster on cores that nobody else wants.
        "openmp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "versions": versions,
    }


def peak_bytes(process: int | Literal["self"] = "self") -> int:
    """Largest resident memory of a process so far, in bytes; 0 when it has ended.

    Not by getrusage or wait4, whose peak is at least that of the parent process.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return 1024 * int(found[1]) if found else 0


def write_report(path: Path, report: dict) -> None:
    """Write a report as JSON."""
    with atomic_write(path) as scratch:
        scratch.write_text(json.dumps(report, indent=1) + "\n")


def read_report(path: Path, command: str) -> dict:
    """Read a report that `write_report` wrote.

    Parameters
    ----------
    path : Path
    command : str
        The command that writes it, for the error message.

    Raises
    ------
    InputError
        If there is no report yet.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; run `{command}` first.")
    return json.loads(path.read_text())


def replace_section(text: str, name: str, command: str, content: str, file: Path) -> str:
    """Replace what stands between the two marker lines of a section.

    Parameters
    ----------
    text : str
    name : str
        The section's: it begins with ``<!-- NAME: written by `COMMAND` -->``
        and ends with ``<!-- /NAME -->``.
    command : str
        The command that writes the section.
    content : str
    file : Path
        The text's file, for the error message.

    Raises
    ------
    InputError
        If the markers are missing.
    """
    begin, end = f"<!-- {name}: written by `{command}` -->", f"<!-- /{name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise InputError(f"{file} has no lines {begin} and {end}; put them back.")
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", text)


def renew_section(file: Path, name: str, command: str, content: str) -> None:
    """Replace the content of a section of a file, see `replace_section`."""
    text = replace_section(file.read_text(), name, command, content, file)
    with atomic_write(file) as scratch:
        scratch.write_text(text)


@dataclass(frozen=True)
class Column:
    """A measure as a column of a table.

    Attributes
    ----------
    measure : str
        A field of `tools.evaluation.metrics.MatteErrors`.
    heading : str
    unit : float
        The table shows values divided by it.
    """

    measure: str
    heading: str
    unit: float


COLUMNS = (
    Column("sad", "SAD ×1e3", 1.0),
    Column("mse", "MSE ×1e-3", 1e-3),
    Column("dapm_gradient", "dapm gradient ×1e-3", 1e-3),
    Column("dapm_connectivity", "dapm connectivity ×1e-4", 1e-4),
)


def estimate_cell(
    value: Mapping[str, Any],
    unit: float,
    *,
    sign: str = "",
    digits: int = 2,
    by_person: bool = True,
) -> str:
    """A table's cell: ``mean ± standard error (standard error by person)``.

    Parameters
    ----------
    value : mapping
        `tools.evaluation.estimates.Estimate` as a dict; errors that are None are left out.
    unit : float
        Everything is divided by it.
    sign : {"", "+"}
        "+" writes the sign of positive means, too.
    digits : int
        Digits after the point.
    by_person : bool
        Whether the second error is shown.
    """
    text = f"{value['mean'] / unit:{sign}.{digits}f}"
    if value["standard_error"] is not None:
        text += f" ± {value['standard_error'] / unit:.{digits}f}"
    if by_person and value["by_person"] is not None:
        text += f" ({value['by_person'] / unit:.{digits}f})"
    return text


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, without a newline at its end.

    Parameters
    ----------
    head : sequence of str
        Headings of the columns, possibly empty.
    rows : iterable of sequences of str
        The cells, as many as there are columns.

    >>> print(markdown_table(["", "SAD"], [["ours", "1.20"]]))
    | | SAD |
    |---|---|
    | ours | 1.20 |
    """
    lines = ["|" + "".join(f" {heading} |" if heading else " |" for heading in head)]
    lines.append("|---" * len(head) + "|")
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines)
