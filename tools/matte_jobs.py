"""The work of tools/matte.py: what to write of each photo, one photo or many."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import ImageColor

from data_prep.errors import InputError
from data_prep.images import SMALLEST_SIDE, atomic_write
from data_prep.parallel import available_workers, map_in_order
from data_prep.pictures import (
    PHOTO_SUFFIXES,
    Picture,
    encode_picture,
    in_color_space,
    read_picture,
    sixteen_bits,
)
from tools.effects import (
    EFFECTS,
    Effect,
    cut_out,
    depth_of_field,
    from_float,
    replace_background,
)
from tools.matting.guidance import MASK, TRIMAP, check_shape, levels_of, read_guidance
from tools.models import DEFAULT_MODEL
from tools.sheets import before_after, effects_sheet

if TYPE_CHECKING:  # it loads Caffe, which `--help` need not wait for
    from tools.session import Matte

logger = logging.getLogger(__name__)

OUTPUTS = ("alpha", "cutout", "composite", "sheet", "trimap", "effects")
# Pictures to look at or to edit, in one format whatever `--format` says.
PNG_OUTPUTS = ("sheet", "trimap", "effects")
BLUR = "blur"
SUFFIXES = {"png": ".png", "webp": ".webp", "tiff": ".tif", "jpg": ".jpg"}
MEMORY_PER_WORKER = 4 << 30  # bytes

DONE, SKIPPED, NOBODY, FAILED = "done", "skipped", "nobody", "failed"


@dataclass(frozen=True)
class Request:
    """What is asked of every photo.

    Attributes
    ----------
    kinds : tuple of str
        Of `OUTPUTS` and `EFFECTS`.
    suffix : str
        Of the files, as in `data_prep.pictures.encode_picture`.
    model : str
        See `tools.session.MattingSession`.
    background : str or None
        A color, the path of an image, or `BLUR`.
    match_colors : bool
        Fit the person's colors to the background image.
    trimap, mask : Path or None
        In place of the model; a folder: the file of the photo's name there.
    """

    kinds: tuple[str, ...]
    suffix: str = ".png"
    model: str = DEFAULT_MODEL
    background: str | None = None
    match_colors: bool = False
    trimap: Path | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Job:
    """One photo and the files to write.

    Attributes
    ----------
    name : str
        Of the photo, in messages.
    source : Path or bytes
    files : dict of str to Path
        By kind of output; empty where they go elsewhere.
    """

    name: str
    source: Path | bytes
    files: Mapping[str, Path] = field(default_factory=dict)

    def is_done(self) -> bool:
        """Whether all files are there and not older than the photo."""
        made = self.source.stat().st_mtime
        return all(path.is_file() and path.stat().st_mtime >= made for path in self.files.values())


@dataclass(frozen=True)
class Result:
    """What became of one photo.

    Attributes
    ----------
    photo : str
    status : {"done", "skipped", "nobody", "failed"}
    message : str
        Of a failure.
    files : dict of str to str
        Of the job, by kind of output; written if the status is "done".
    width, height, faces : int
    seconds : float
    """

    photo: str
    status: str
    message: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    faces: int = 0
    seconds: float = 0.0


class Workbench:
    """The loaded model, and what a request needs for every photo.

    Raises
    ------
    InputError
        If a file of the model or the background is missing or damaged.
    """

    def __init__(self, request: Request) -> None:
        from tools.session import MattingSession

        self._request = request
        outside = request.trimap is not None or request.mask is not None
        self._session = MattingSession(None if outside else request.model)
        self._background = read_background(request.background)

    def matte(self, photo: Picture, name: str) -> Matte:
        """Matte of a photo, at the depth of the outputs.

        Raises
        ------
        InputError
            If it cannot be matted, or its trimap or mask not be read.
        """
        request = self._request
        bgr = sixteen_bits(photo.bgr) if request.suffix == ".tif" else photo.bgr
        trimap, mask = (
            None if given is None else _read_companion(kind, given, name, bgr.shape)
            for kind, given in ((TRIMAP, request.trimap), (MASK, request.mask))
        )
        try:
            return self._session.matte(bgr, trimap=trimap, mask=mask)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None

    def render(self, kind: str, photo: Picture, matte: Matte) -> np.ndarray:
        """One output: gray, BGR or BGRA.

        Parameters
        ----------
        kind : str
            Of `OUTPUTS` or `EFFECTS`.
        photo : Picture
        matte : Matte
            Of that photo.
        """
        if kind == "alpha":
            return from_float(matte.alpha, matte.photo.dtype)
        if kind == "trimap":
            from tools.contact_sheet import render_trimap

            return render_trimap(matte.probabilities)
        layers = matte.photo, matte.alpha, matte.foreground
        if kind == "cutout":
            return cut_out(matte.foreground, matte.alpha)
        if kind == "sheet":
            return before_after(*layers)
        if kind == "composite":
            return self._before_background(photo).apply(*layers)
        if kind == "effects":
            new = {} if self._background is None else {"background": self._before_background(photo)}
            return effects_sheet(*layers, {**new, **EFFECTS})
        return EFFECTS[kind].apply(*layers)

    def _before_background(self, photo: Picture) -> Effect:
        if self._background is BLUR:
            return Effect("Blur", "Background", depth_of_field)
        ground = in_color_space(self._background, photo.icc)
        return Effect(
            "Background",
            "Background",
            functools.partial(replace_background, ground=ground, match=self._request.match_colors),
        )


def read_background(text: str | None) -> Picture | str | None:
    """What ``--background`` names: an image, `BLUR`, or a color as one pixel.

    Raises
    ------
    InputError
        If it is none of them, or an unreadable image.
    """
    if text is None or text == BLUR:
        return text and BLUR
    if Path(text).is_file():
        return read_picture(Path(text), smallest=SMALLEST_SIDE)
    try:
        color = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise InputError(
            f"--background {text} is no image file, no color and not '{BLUR}'; "
            "colors are written as white or '#20a060'."
        ) from None
    return Picture(np.array(color[::-1], np.uint8).reshape(1, 1, 3))


def _companion(given: Path, photo: str) -> Path:
    """The trimap or mask of a photo: a file, or that of the same name in a folder."""
    if not given.is_dir():
        return given
    stem = Path(photo).stem
    found = sorted(path for path in given.iterdir() if path.stem == stem)
    if len(found) != 1:
        raise InputError(f"{given} holds {len(found)} files called {stem}; it takes exactly one.")
    return found[0]


def _read_companion(kind: str, given: Path, photo: str, shape: tuple[int, ...]) -> np.ndarray:
    """Trimap or mask of a photo of this shape, at its own size; logs what it assumes."""
    path = _companion(given, photo)
    stored = read_guidance(kind, path, path)
    check_shape(stored, path, shape, photo)
    guidance = levels_of(kind, stored, path)
    if guidance.assumed:
        logger.warning("%s", guidance.assumed)
    return guidance.values


def suffix_of(kind: str, request: Request) -> str:
    """Suffix of the file of an output."""
    return ".png" if kind in PNG_OUTPUTS else request.suffix


def process(
    job: Job, bench: Workbench, request: Request, write: Callable[[str, bytes], None]
) -> Result:
    """Matte one photo.

    Parameters
    ----------
    job : Job
    bench : Workbench
        Made of `request`.
    request : Request
    write : callable
        Takes the kind and the content of each output, one after the other:
        large photos fill the memory.

    Returns
    -------
    Result
        With status "done" or "nobody"; then nothing was written.

    Raises
    ------
    InputError
        If the photo or its trimap cannot be read or matted, or a file not be
        written.
    """
    start = time.monotonic()
    try:
        photo = read_picture(job.source, job.name)
        matte = bench.matte(photo, job.name)
        if matte.person_found:
            for kind in request.kinds:
                pixels = bench.render(kind, photo, matte)
                suffix = job.files[kind].suffix if job.files else suffix_of(kind, request)
                write(kind, encode_picture(pixels, suffix, photo))
    except (MemoryError, cv2.error) as error:  # OpenCV's own want of memory
        raise InputError(
            f"{job.name} takes more memory than there is ({error}); make it smaller."
        ) from error
    height, width = photo.bgr.shape[:2]
    return Result(
        job.name,
        DONE if matte.person_found else NOBODY,
        files={kind: str(path) for kind, path in job.files.items() if matte.person_found},
        width=width,
        height=height,
        faces=len(matte.faces),
        seconds=round(time.monotonic() - start, 3),
    )


def write_files(job: Job) -> Callable[[str, bytes], None]:
    """A `write` for `process` that writes the job's files atomically."""

    def write(kind: str, content: bytes) -> None:
        with atomic_write(job.files[kind]) as scratch:
            scratch.write_bytes(content)

    return write


# A worker process serves many jobs with one model.
_workbench = functools.cache(Workbench)


def run_job(job: Job, request: Request) -> Result:
    """One of many jobs: its failure is a result.

    Raises
    ------
    InputError
        As `Workbench`: what concerns every photo.
    """
    bench = _workbench(request)
    try:
        return process(job, bench, request, write_files(job))
    except (InputError, OSError) as error:
        return Result(job.name, FAILED, str(error))


def plan(folder: Path, out: Path, request: Request) -> list[Job]:
    """Jobs of all photos in a folder and the folders in it.

    The folders are repeated in `out`; photos that differ in their suffix only
    keep it, as in ``a_jpg_cutout.png``.

    Raises
    ------
    InputError
        If there are no photos, or `out` is the folder itself.
    """
    if out.resolve() == folder.resolve():
        raise InputError(f"{out} holds the photos; choose another folder with -o.")
    photos = [path for path in sorted(folder.rglob("*")) if _is_photo(path, folder, out)]
    if not photos:
        kinds = ", ".join(sorted(suffix[1:] for suffix in PHOTO_SUFFIXES))
        raise InputError(f"{folder} holds no photos ({kinds}).")
    stems = Counter(photo.with_suffix("") for photo in photos)
    jobs = []
    for photo in photos:
        stem = photo.with_suffix("")
        if stems[stem] > 1:
            stem = stem.with_name(photo.name.replace(".", "_"))
        target = out / stem.relative_to(folder)
        jobs.append(Job(str(photo), photo, files_of(target, request)))
    return jobs


def files_of(target: Path, request: Request) -> dict[str, Path]:
    """Files of a photo, by kind: the target's name, the kind and a suffix."""
    return {
        kind: target.with_name(f"{target.name}_{kind}{suffix_of(kind, request)}")
        for kind in request.kinds
    }


def _is_photo(path: Path, folder: Path, out: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return (
        path.suffix.lower() in PHOTO_SUFFIXES
        and not hidden
        and out.resolve() not in path.resolve().parents
        and path.is_file()
    )


def run_jobs(
    jobs: Sequence[Job], request: Request, workers: int, overwrite: bool
) -> Iterator[Result]:
    """Run jobs, in parallel, past what fails; results in order.

    Parameters
    ----------
    jobs : sequence of Job
    request : Request
    workers : int
        Processes.
    overwrite : bool
        Also what is done already.

    Raises
    ------
    InputError
        As `run_job`, and if a worker process died.
    """
    done = {job.name for job in jobs if not overwrite and job.is_done()}
    fresh = [job for job in jobs if job.name not in done]
    results = map_in_order(functools.partial(run_job, request=request), fresh, workers)
    for job in jobs:
        if job.name in done:
            yield Result(job.name, SKIPPED, files={k: str(path) for k, path in job.files.items()})
        else:
            yield next(results)


def default_workers() -> int:
    """One a core, as far as each can have `MEMORY_PER_WORKER`."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(available_workers(), memory // MEMORY_PER_WORKER))
