"""Which photos of a folder are meant, and which file belongs to which photo."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.common.errors import InputError
from data_prep.common.images import IMAGE_SUFFIXES, identity_of
from tools.outputs import journal

#: Suffixes that outputs can have.
OUTPUT_SUFFIXES = frozenset((".png", ".webp", ".tif", ".tiff", ".jpg", ".jpeg"))

# What a file may begin with that is an image, of a kind that is read or not.
IMAGE_STARTS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  ",
    b"8BPS\0",
    b"\xff\x0a",
    b"\0\0\0\x0cJXL ",
    b"FUJIFILMCCD-RAW",
    b"IIRO",
    b"IIRS",
    b"IIU\0",
    b"v/1\x01",
    b"#?RADIANCE",
    b"gimp xcf",
)
IMAGE_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"crx ")
EXAMPLES = 3  # names in a sentence on many files

# What the trimap, mask or matte of a photo may be called: as the photo, or as an output is.
ENDINGS = {
    "trimap": ("", "_trimap"),
    "mask": ("", "_mask", "_alpha"),
    "alpha": ("", "_alpha", "_matte"),
}
# What messages call them.
NAMES = {"trimap": "trimap", "mask": "mask", "alpha": "matte"}


@dataclass
class Tree:
    """Files of a folder and the folders in it, linked ones too; hidden ones are left out.

    Attributes
    ----------
    files : list of Path
        Sorted; every folder is gone through once, by its own name where it has one.
    folders : list of Path
        Those gone through.
    repeated : list of Path
        Links to folders that are gone through anyway.
    closed : list of Path
        Folders that may not be read.
    """

    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    repeated: list[Path] = field(default_factory=list)
    closed: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, top: Path, without: Path | None = None) -> Tree:
        """What is in `top`, but not in the folder `without`."""
        tree = cls()
        outside = {identity_of(without)} if without is not None and without.is_dir() else set()
        met: set[tuple[int, int]] = set()
        starts = deque([top])  # links come last, so that folders go by their own names
        while starts:
            start = starts.popleft()
            if identity_of(start) in met:
                tree.repeated.append(start)
                continue
            pending = [start]
            while pending:
                folder = pending.pop()
                if identity_of(folder) in met | outside:
                    continue
                met.add(identity_of(folder))
                pending += tree._go_through(folder, starts)
        tree.files.sort()
        return tree

    def _go_through(self, folder: Path, links: deque[Path]) -> list[Path]:
        """Take the files of one folder; its folders are returned, its links added."""
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            self.closed.append(folder)
            return []
        self.folders.append(folder)
        inside = []
        for path in entries:
            if path.name.startswith("."):
                continue
            if os.path.isdir(path):
                (links if path.is_symlink() else inside).append(path)
            elif os.path.isfile(path):
                self.files.append(path)
        return inside


@dataclass(frozen=True)
class Listing:
    """Photos in a folder, and the files beside them that are passed over.

    Attributes
    ----------
    photos : list of Path
    earlier : list of Path
        Outputs of earlier runs.
    unknown : list of Path
        Images whose names end in no suffix that is read.
    tree : Tree
    """

    photos: list[Path]
    earlier: list[Path]
    unknown: list[Path]
    tree: Tree

    def passed_over(self) -> list[str]:
        """A sentence on each kind of thing that is passed over."""
        suffixes = Counter(path.suffix.lower() or "no suffix" for path in self.unknown)
        kinds = ", ".join(f"{suffix} ({count})" for suffix, count in suffixes.most_common())
        return [
            sentence
            for paths, sentence in (
                (self.earlier, f"outputs of earlier runs: {some(self.earlier)}."),
                (self.unknown, f"images of other names: {kinds}; save them as JPEG or PNG."),
                (
                    self.tree.repeated,
                    f"links to folders that are looked through anyway: {some(self.tree.repeated)}.",
                ),
                (self.tree.closed, f"folders that may not be read: {some(self.tree.closed)}."),
            )
            if paths
        ]


def some(names: Sequence[object]) -> str:
    """The first names and how many more there are."""
    listed = ", ".join(map(str, names[:EXAMPLES]))
    more = len(names) - EXAMPLES
    return f"{listed} and {more} more" if more > 0 else listed


def list_photos(folder: Path, out: Path | None, kinds: Collection[str]) -> Listing:
    """Photos of a folder and the folders in it.

    Outputs of earlier runs are no photos: what lies in `out`, what a journal beside or
    above it names, and what is called like an output (``a_cutout.png``) of a photo
    that is there.

    Parameters
    ----------
    folder : Path
    out : Path or None
        The output folder.
    kinds : collection of str
        Those of outputs.
    """
    tree = Tree.of(folder, out)
    written = set(_written(tree.folders, folder))
    images = [path for path in tree.files if path.suffix.lower() in IMAGE_SUFFIXES]
    stems = {stem for path in images for stem in (path.stem, _with_suffix(path))}
    photos, earlier = [], []
    for path in images:
        is_output = path.absolute() in written or _is_called_output(path, stems, kinds)
        (earlier if is_output else photos).append(path)
    known = set(images)
    unknown = [path for path in tree.files if path not in known and _begins_as_image(path)]
    return Listing(photos, earlier, unknown, tree)


def _written(folders: Sequence[Path], top: Path) -> Iterator[Path]:
    """Absolute paths of what journals in folders, and above the topmost one, name."""
    for folder in (*folders, *top.absolute().parents):
        for name in journal.read_entries(folder):
            yield folder.absolute() / name


def _is_called_output(path: Path, stems: Collection[str], kinds: Collection[str]) -> bool:
    stem, _, kind = path.stem.rpartition("_")
    return kind in kinds and stem in stems and path.suffix.lower() in OUTPUT_SUFFIXES


def _begins_as_image(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            head = stream.read(16)
    except OSError:
        return False
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head.startswith(IMAGE_STARTS) or (head[4:8] == b"ftyp" and head[8:12] in IMAGE_BRANDS)


def _with_suffix(path: Path) -> str:
    """A name for the outputs of a photo that says its suffix."""
    return path.name.replace(".", "_")


def unique_targets(photos: Sequence[Path]) -> list[Path]:
    """Names for the outputs of photos, none of them twice.

    Parameters
    ----------
    photos : sequence of Path
        Relative to the output folder.

    Returns
    -------
    list of Path
        Without suffix, in the same order.  Photos that differ in their suffix only keep
        it, as in ``a_jpg``; where that is the name of another one, a number is added.
    """
    stems = [photo.with_suffix("") for photo in photos]
    counts = Counter(stems)
    taken = {stem for stem in stems if counts[stem] == 1}
    targets = []
    for photo, stem in zip(photos, stems, strict=True):
        target = stem
        if counts[stem] > 1:
            target = first = photo.with_name(_with_suffix(photo))
            number = 2
            while target in taken:
                target = first.with_name(f"{first.name}_{number}")
                number += 1
            taken.add(target)
        targets.append(target)
    return targets


def _ends(target: Path) -> list[Path]:
    """A path, and what is left of it without its first folder, its first two, ..."""
    return [Path(*target.parts[first:]) for first in range(len(target.parts))]


class Companions:
    """Trimaps, masks or mattes from outside, and which of them belongs to which photo.

    Parameters
    ----------
    given : Path
        The file of the one photo, or a folder with one of the photo's name for each.
    kind : {"trimap", "mask", "alpha"}
    targets : sequence of Path
        Those of all photos, as `unique_targets` makes them.
    stems : sequence of str, optional
        Names of the photos without folder and suffix, where targets may keep suffixes.

    Raises
    ------
    InputError
        If `given` does not exist, holds a folder that may not be read, or is one file for several
        photos.
    """

    def __init__(
        self, given: Path, kind: str, targets: Sequence[Path], stems: Sequence[str] | None = None
    ) -> None:
        if not given.exists():
            raise InputError(f"{given} does not exist; check the name.")
        if len(targets) > 1 and not given.is_dir():
            raise InputError(
                f"{given} is one {NAMES[kind]} for {len(targets)} photos; "
                f"give a folder with a {NAMES[kind]} for each."
            )
        self._given, self._kind = given, kind
        self._files: dict[Path, list[Path]] | None = None
        if given.is_dir():
            self._files = {}
            tree = Tree.of(given)
            if tree.closed:
                raise InputError(f"{some(tree.closed)} may not be read; check the permissions.")
            for path in tree.files:
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    self._files.setdefault(path.relative_to(given).with_suffix(""), []).append(path)
        named = zip(targets, stems or [target.name for target in targets], strict=True)
        self._ends = Counter(
            end
            for target, stem in named
            for end in {*_ends(target), *_ends(target.with_name(stem))}
        )

    def candidates(self, target: Path) -> list[Path]:
        """Files that are called as the companion of one photo; one, if all is well.

        In a folder it lies where the photo's outputs lie in theirs.  Without some of the
        first folders of that path, as where all companions lie in one folder, it is
        found if no other photo is called so.

        Parameters
        ----------
        target : Path
            One of the targets.
        """
        if self._files is None:
            return [self._given]
        for end in _ends(target):
            if end != target and self._ends[end] > 1:
                break
            names = (end.with_name(end.name + ending) for ending in ENDINGS[self._kind])
            if found := [path for name in names for path in self._files.get(name, ())]:
                return found
        return []

    def find(self, target: Path, photo: str) -> Path:
        """The companion of one photo, see `candidates`.

        Parameters
        ----------
        target : Path
            One of the targets.
        photo : str
            What messages call it.

        Raises
        ------
        InputError
            If there is none or there are several.
        """
        found = self.candidates(target)
        if len(found) == 1:
            return found[0]
        name = NAMES[self._kind]
        if found:
            raise InputError(
                f"{photo} has several {name}s ({', '.join(map(str, found))}); keep one."
            )
        raise InputError(
            f"{self._given} holds no {name} for {photo}; "
            f"it would be called {target}.png or {target}{ENDINGS[self._kind][1]}.png."
        )
