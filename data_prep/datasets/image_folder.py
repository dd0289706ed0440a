"""The images of a folder by their stems, and its files that are no images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.common.images import IMAGE_SUFFIXES
from data_prep.datasets.lists import composed
from data_prep.datasets.manifest import Problem

#: What names of mattes often add to those of their photos.
MATTE_TAIL = "([-_ ]?(matte|alpha|mask))?"


def file_fault(path: Path) -> str | None:
    """Why a path cannot be an image, by its name alone; None where it can."""
    if path.name.startswith("."):
        return "a hidden file, no image"
    if path.is_dir():
        return "a folder where images were expected"
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return f"'{path.suffix}' is no image format that is read here"
    return None


class ImageFolder:
    """The images of a folder, found by stem; equal stems may be composed in two ways.

    Parameters
    ----------
    folder : Path
    preferred : sequence of str
        Suffixes.  An image of another format does not count beside one of these.

    Attributes
    ----------
    folder : Path
    passed_over : list of Problem
        Files that do not count, without hidden ones.
    """

    def __init__(self, folder: Path, preferred: Sequence[str]) -> None:
        self.folder = folder
        self.passed_over: list[Problem] = []
        by_stem: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            fault = file_fault(path)
            if fault is None:
                by_stem.setdefault(composed(path.stem), []).append(path)
            elif not path.name.startswith("."):
                self.passed_over.append(Problem(path, fault))
        self._images: dict[str, list[Path]] = {}
        for stem, paths in by_stem.items():
            best = [path for path in paths if path.suffix.lower() in preferred] or paths
            self._images[stem] = best
            others = [path for path in paths if path not in best]
            self.passed_over += [Problem(path, f"{best[0].name} is taken") for path in others]

    @property
    def stems(self) -> list[str]:
        """Stems as the files spell them."""
        return [images[0].stem for images in self._images.values()]

    def of(self, stem: str) -> list[Path]:
        """The images of a stem; more than one is for the caller to refuse."""
        return self._images.get(composed(stem), [])

    def missing(self, stem: str, name: str, what: str) -> Problem:
        """The problem that there is no image of a stem.

        Parameters
        ----------
        stem : str
        name : str
            Name of the file that there should be.
        what : str
            "the photo" or "the matte".
        """
        reason = f"{what} is missing"
        wanted = re.compile(re.escape(composed(stem)) + MATTE_TAIL, re.IGNORECASE)
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and wanted.fullmatch(composed(path.stem)):
                place = path.relative_to(self.folder.parent)
                remedy = file_fault(path) or f"name it {stem}{path.suffix.lower()}"
                if path.parent != self.folder:
                    remedy = f"move it to {self.folder.name}"
                reason += f"; {place} may be it: {remedy}"
                break
        return Problem(self.folder / name, reason)
