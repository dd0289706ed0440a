"""A checkout to try commands in: everything is the real one but what they write."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What commands write; of data/ only the parts that are made, too.
WRITTEN = {".git", "build", "data", "out", "snapshots"}


def clean_environment() -> dict[str, str]:
    """The variables of a shell in which nothing is activated."""
    kept = ("HOME", "PYTHONPATH", "OMP_NUM_THREADS", "LANG")
    variables = {name: os.environ[name] for name in kept if name in os.environ}
    return variables | {"PATH": "/usr/local/bin:/usr/bin:/bin", "COLUMNS": "200"}


def scratch_checkout(folder: Path, portraits: int | None = None) -> Path:
    """Make a folder a checkout of links, without databases and snapshots; returns it.

    With `portraits` its datasets have only the first so many of each list.
    """
    for path in ROOT.iterdir():
        if path.name not in WRITTEN:
            (folder / path.name).symlink_to(path)
    (folder / "data").mkdir()
    for name in ("sample", "benchmark", "weights", "models"):
        if (ROOT / "data" / name).exists():
            (folder / "data" / name).symlink_to(ROOT / "data" / name)
    if portraits is not None:
        for name in ("sample", "benchmark"):
            (folder / "data" / name).unlink()
            link_some(ROOT / "data" / name, folder / "data" / name, portraits)
    return folder


def link_some(dataset: Path, folder: Path, portraits: int) -> None:
    """Make a folder a dataset: the first so many portraits of each list of another one."""
    for kind in ("images", "mattes"):
        (folder / kind).mkdir(parents=True)
    for source in dataset.glob("t*.txt"):  # train.txt and test.txt
        stems = source.read_text().split()[:portraits]
        (folder / source.name).write_text("".join(f"{stem}\n" for stem in stems))
        for stem in stems:
            for path in dataset.glob(f"*/{stem}.*"):
                if (folder / path.parent.name).is_dir():
                    (folder / path.parent.name / path.name).symlink_to(path)


def system_python() -> str:
    """The Python that a shell finds where nothing is activated."""
    return shutil.which("python3", path=clean_environment()["PATH"])
