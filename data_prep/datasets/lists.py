"""List files: the portraits that a line of train.txt, or of any such list, names.

A list has one portrait a line, by its stem.  Lists come in other forms that can mean
one portrait only, and those are read too:

* with a byte order mark, in UTF-16, with line ends of Windows;
* the name or the path of a photo or matte (``p1.jpg``, ``images/p1.jpg``);
* a photo and its matte in columns, as Caffe's lists have them;
* empty lines, and comments that begin with ``#``;
* letters with accents composed in the other way (macOS decomposes names of files).

What names no portrait, or one that has been named before, is a `Problem` with file
and line.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.common.errors import InputError
from data_prep.common.images import IMAGE_SUFFIXES
from data_prep.datasets.manifest import Problem

ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
#: What separates the columns of a line.
COLUMNS = re.compile(r"[\s,;]+")


class Line(NamedTuple):
    """A line of a text file, counted from 1, without blanks at its ends."""

    number: int
    text: str


class Entry(NamedTuple):
    """A portrait that a list names, and the line that does."""

    number: int
    stem: str


def composed(name: str) -> str:
    """A name with composed letters (Unicode NFC): names that look the same are the same."""
    return unicodedata.normalize("NFC", name)


def read_lines(path: Path) -> list[Line]:
    """The lines of a text file that are not empty.

    Raises
    ------
    InputError
        If the file is neither UTF-8 nor, with a byte order mark, UTF-16.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not a text file in UTF-8 (line {number}); save it as such, "
            "one file stem a line."
        ) from None
    if "\0" in text:
        raise InputError(
            f"{path} is not a text file in UTF-8; save it as such, one file stem a line."
        )
    lines = enumerate(map(str.strip, text.splitlines()), start=1)
    return [Line(number, line) for number, line in lines if line]


class PortraitIndex:
    """Finds the portrait that a text names.

    Parameters
    ----------
    folder : Path
        Paths in lists begin there, or in the current folder.
    places : iterable of Path
        Folders of photos and mattes: paths lead there.
    stems : iterable of str
        Stems of the portraits that a list may name.
    described : str
        What a list has to name, for messages: "a portrait of ...".
    """

    def __init__(
        self, folder: Path, places: Iterable[Path], stems: Iterable[str], described: str
    ) -> None:
        self.described = described
        self._folder = folder
        self._places = {
            path for place in places for path in (os.path.abspath(place), str(place.resolve()))
        }
        self._stems = {composed(stem): stem for stem in stems}

    def find(self, text: str) -> str | None:
        """Stem of the one portrait that a line means; None where there is none."""
        found = self._by_name(text) or self._by_name(re.sub(r"\s+#.*", "", text))
        if found is not None:
            return found
        for gap in COLUMNS.finditer(text):
            photo = self._by_name(text[: gap.start()])
            if photo is not None and photo == self._by_name(text[gap.end() :]):
                return photo
        return None

    def _by_name(self, text: str) -> str | None:
        """Stem of the portrait of this stem, file name or path."""
        if composed(text) in self._stems:
            return self._stems[composed(text)]
        path = text.replace("\\", "/")
        folder, name = os.path.split(path)
        if folder and not self._is_place(folder):
            return None
        stem, suffix = os.path.splitext(composed(name))
        if composed(name) in self._stems:
            return self._stems[composed(name)]
        return self._stems.get(stem) if suffix.lower() in IMAGE_SUFFIXES else None

    def _is_place(self, folder: str) -> bool:
        found = (os.path.abspath(self._folder / folder), os.path.abspath(folder))
        return any(path in self._places for path in found)


def read_entries(path: Path, index: PortraitIndex) -> tuple[list[Entry], list[Problem]]:
    """The portraits of a list.

    Parameters
    ----------
    path : Path
    index : PortraitIndex

    Returns
    -------
    entries : list of Entry
    problems : list of Problem
        A list without an entry; lines that name no portrait.

    Raises
    ------
    InputError
        As `read_lines`.
    """
    entries, problems = [], []
    for number, text in read_lines(path):
        stem = index.find(text)
        if stem is not None:
            entries.append(Entry(number, stem))
        elif not text.startswith("#"):
            reason = f"line {number}, '{text}', is not {index.described}"
            problems.append(Problem(path, f"{reason}; correct it or take it out"))
    if not entries and not problems:
        problems.append(Problem(path, "the list is empty; write one file stem a line"))
    return entries, problems


def repetitions(lists: Mapping[Path, Sequence[Entry]]) -> list[Problem]:
    """One problem for each entry whose portrait has been named before, in any list."""
    first: dict[str, tuple[Path, int]] = {}
    problems = []
    for path, entries in lists.items():
        for number, stem in entries:
            where, line = first.setdefault(stem, (path, number))
            if (where, line) != (path, number):
                reason = (
                    f"line {number} names {stem}, which is already in {where.name}, line {line}; "
                    "keep one of the two"
                )
                problems.append(Problem(path, reason))
    return problems
