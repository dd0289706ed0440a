"""Freely licensed photographs without people, out of Debian's wallpaper packages.

`photographs.tsv` beside this file names each with its author and license.  They are
looked at in training only; no file of this project contains any part of them.
"""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tqdm import tqdm

from data_prep.common.assets import AssetError, cache_dir
from data_prep.common.digests import sha256_of
from data_prep.common.files import copy_file

LIST = Path(__file__).with_name("photographs.tsv")


@dataclass(frozen=True)
class Photograph:
    """One photograph and where it comes from.

    Attributes
    ----------
    name : str
    package : str
        Package of Debian.
    member : str
        Path inside the package.
    sha256 : str
    author, license : str
        As the package states them.
    """

    name: str
    package: str
    member: str
    sha256: str
    author: str
    license: str

    @property
    def path(self) -> Path:
        """Where the file lies once it has been fetched."""
        return cache_dir() / "photographs" / f"{self.name}{Path(self.member).suffix}"


@cache
def photographs() -> tuple[Photograph, ...]:
    """All photographs, by name."""
    with LIST.open(encoding="utf-8", newline="") as stream:
        return tuple(Photograph(**row) for row in csv.DictReader(stream, delimiter="\t"))


def fetch_photographs() -> list[Path]:
    """Paths of all photographs, downloaded on first use with a progress bar.

    Raises
    ------
    AssetError
        If a package cannot be had, or one of its files is not the one that is pinned.
    """
    missing = [photograph for photograph in photographs() if not photograph.path.is_file()]
    packages = sorted({photograph.package for photograph in missing})
    for package in tqdm(packages, "photographs", unit="package", disable=not packages):
        _fetch_package(package, [each for each in missing if each.package == package])
    return [photograph.path for photograph in photographs()]


def _fetch_package(package: str, wanted: Sequence[Photograph]) -> None:
    """Download a package and keep the photographs that are wanted of it."""
    target = cache_dir() / "photographs"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as folder:
        _run(["apt-get", "download", package], folder, package)
        archives = list(Path(folder).glob("*.deb"))
        if len(archives) != 1:
            raise AssetError(f"The package {package} was not downloaded; run `apt-get update`.")
        _run(["dpkg-deb", "--extract", str(archives[0]), "content"], folder, package)
        for photograph in wanted:
            found = Path(folder, "content", photograph.member)
            if not found.is_file() or sha256_of(found) != photograph.sha256:
                raise AssetError(
                    f"The package {package} of this machine does not hold the "
                    f"{photograph.member} that this project was built for (that of Debian 12); "
                    "name a folder of your own pictures with --photographs instead."
                )
            copy_file(found, photograph.path)


def _run(command: list[str], folder: str, package: str) -> None:
    """Run a program of Debian's in a folder.

    Raises
    ------
    AssetError
        If the program is missing or fails.
    """
    try:
        environment = {**os.environ, "LC_ALL": "C"}
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    except FileNotFoundError:
        raise AssetError(
            f"{command[0]} is not on this machine, so that {package} cannot be downloaded; "
            "name a folder of your own pictures with --photographs instead."
        ) from None
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise AssetError(
            f"The package {package} could not be downloaded ({reason}); check the network, "
            "run `apt-get update` and then the command again."
        )
