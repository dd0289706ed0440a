"""What benchmark reports share: the machine, and tables inside README.md."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from data_prep.errors import InputError

README = Path("README.md")


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


def replace_section(
    text: str, name: str, command: str, content: str, file: Path = README
) -> str:
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
