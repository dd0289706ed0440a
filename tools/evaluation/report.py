"""What reports of measurements share: the machine, their file, tables inside documents."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write

#: Where the tables of `tools/benchmarks/solvers.py` and `tools/benchmarks/mattes.py` stand.
BENCHMARK = Path("docs/benchmark.md")


def describe_machine(packages: Sequence[str] = ()) -> dict:
    """What figures depend on besides the code: date, processor, cores, versions."""
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
        "versions": versions,
    }


def write_report(path: Path, report: dict) -> None:
    """Write a report as JSON."""
    with atomic_write(path) as scratch:
        scratch.write_text(json.dumps(report, indent=1) + "\n")


def read_report(path: Path, command: str) -> dict:
    """What `write_report` wrote.

    Parameters
    ----------
    path : Path
    command : str
        That measures.

    Raises
    ------
    InputError
        If there is no report yet.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; run `{command}` first.")
    return json.loads(path.read_text())


def replace_section(text: str, name: str, command: str, content: str, file: Path) -> str:
    """Text with what stands between two marker lines renewed.

    Parameters
    ----------
    text : str
    name : str
        Of the section: it begins with ``<!-- NAME: written by `COMMAND` -->``
        and ends with ``<!-- /NAME -->``.
    command : str
        That writes it.
    content : str
    file : Path
        Where the text is from.

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
    """Write `replace_section` into a file."""
    text = replace_section(file.read_text(), name, command, content, file)
    with atomic_write(file) as scratch:
        scratch.write_text(text)


@dataclass(frozen=True)
class Column:
    """A measure of the quality table."""

    measure: str
    heading: str
    unit: float


COLUMNS = (
    Column("sad", "SAD ×1e3", 1.0),
    Column("mse", "MSE ×1e-3", 1e-3),
    Column("dapm_gradient", "dapm gradient ×1e-3", 1e-3),
    Column("dapm_connectivity", "dapm connectivity ×1e-4", 1e-4),
)


def cell(value: dict, unit: float, sign: str = "") -> str:
    """``mean ± standard error (the one by person)``."""
    text = f"{value['mean'] / unit:{sign}.2f}"
    if value["standard_error"] is not None:
        text += f" ± {value['standard_error'] / unit:.2f}"
    if value["by_person"] is not None:
        text += f" ({value['by_person'] / unit:.2f})"
    return text
