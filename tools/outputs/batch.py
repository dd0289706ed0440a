"""The work of tools/matte.py: what to write of each photo, one photo or many."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError, collected_warnings, sentence_of
from data_prep.common.files import atomic_write, atomic_write_keeping
from data_prep.common.images import (
    IMAGE_SUFFIXES,
    LARGEST_FILE,
    is_stream,
    read_stream,
    refuse_overwriting,
)
from data_prep.common.pictures import Picture, encode_picture, read_picture
from tools.matting.models import MATTES_VERSION, MODELS
from tools.outputs import journal
from tools.outputs.effects import EFFECTS
from tools.outputs.folders import Companions, list_photos, some, unique_targets
from tools.outputs.rendering import OUTPUTS, PNG_OUTPUTS, Job, LoadedRequest, Request, is_image_file

if TYPE_CHECKING:  # it loads Caffe, which `--help` need not wait for
    from tools.matting.session import Matte

logger = logging.getLogger(__name__)

# Outputs that show the background that is asked for.
ON_BACKGROUND = ("composite", "effects")
#: Raised when the rendering of any output changes: files of other versions are made again.
OUTPUTS_VERSION = 1
SUFFIXES = {"png": ".png", "webp": ".webp", "tiff": ".tif", "jpg": ".jpg"}
MEMORY_PER_WORKER = 4 << 30  # bytes

PIPE = "-"
STREAM_STEM = "stdin"  # in the names of outputs of a photo that has no name

DONE, SKIPPED, NOBODY, FAILED = "done", "skipped", "nobody", "failed"
FOREIGN_FOUND = "{} is skipped to keep {}, changed or made by somebody; --overwrite replaces it."
NO_FACE_FOUND = "{}: no face was found, so the size of the head is a guess."
NOBODY_FOUND = "nobody was found in {}; point out the person with --mask or --trimap."
BLACK_MATTE = "{}, the matte given for {}, is black everywhere; give one that shows the person."


@dataclass(frozen=True)
class Result:
    """What became of one photo.

    Attributes
    ----------
    photo : str
    status : {"done", "skipped", "nobody", "failed"}
    message : str
        Why it failed or what it would have replaced, or that there is nobody.
    files : dict of str to str
        The job's that are there, by kind of output; written if the status is "done".
    width, height, faces : int
    seconds : float
    warnings : tuple of str
        Parts of the input that were left out, and assumptions about it.
    """

    photo: str
    status: str
    message: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    faces: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def suffix_of(kind: str, request: Request) -> str:
    """Suffix of the file of an output."""
    return ".png" if kind in PNG_OUTPUTS else request.suffix


class OutputWriter(Protocol):
    """Where the outputs of a photo go: its files, or a pipe."""

    def __call__(self, kind: str, content: bytes, /) -> None:
        """Write one output.

        Parameters
        ----------
        kind : str
            Kind of the output, such as "alpha" or "cutout".
        content : bytes
            Content of its file.
        """


def process(job: Job, loaded: LoadedRequest, request: Request, write: OutputWriter) -> Result:
    """Matte one photo.

    Parameters
    ----------
    job : Job
    loaded : LoadedRequest
        Made of `request`.
    request : Request
    write : OutputWriter
        Called for one output after the other: large photos fill the memory.

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
    if job.problem:
        raise InputError(job.problem)
    start = time.monotonic()
    with collected_warnings() as warnings, _faults_named(job.name):
        photo = read_picture(job.source, job.name)
        matte = loaded.matte(photo, job)
        if matte.person_found:
            if request.guidance is None and not matte.faces:
                logger.warning(NO_FACE_FOUND.format(job.name))
            _write_outputs(job, photo, matte, loaded, request, write)
    height, width = photo.bgr.shape[:2]
    return Result(
        job.name,
        DONE if matte.person_found else NOBODY,
        files={kind: str(path) for kind, path in job.files.items() if matte.person_found},
        width=width,
        height=height,
        faces=len(matte.faces),
        seconds=round(time.monotonic() - start, 3),
        message="" if matte.person_found else _why_nobody(job, request),
        warnings=tuple(warnings),
    )


def _why_nobody(job: Job, request: Request) -> str:
    """Why a matte is empty, and what helps."""
    if request.alpha is not None:
        return BLACK_MATTE.format(job.companion, job.name)
    return NOBODY_FOUND.format(job.name)


def _write_outputs(
    job: Job,
    photo: Picture,
    matte: Matte,
    loaded: LoadedRequest,
    request: Request,
    write: OutputWriter,
) -> None:
    """Render one output after the other; the one before is compressed and written meanwhile."""

    def compress_and_write(kind: str, pixels: np.ndarray) -> None:
        suffix = job.files[kind].suffix if job.files else suffix_of(kind, request)
        write(kind, encode_picture(pixels, suffix, photo))

    with ThreadPoolExecutor(1, "writer") as writer:
        writing = None
        for kind in request.kinds:
            pixels = loaded.render(kind, photo, matte)
            if writing is not None:
                writing.result()
            writing = writer.submit(compress_and_write, kind, pixels)
            del pixels
        if writing is not None:
            writing.result()


@contextmanager
def _faults_named(photo: str) -> Iterator[None]:
    """Turn what OpenCV and the memory raise into a sentence on the photo.

    Raises
    ------
    InputError
    """
    try:
        yield
    except MemoryError as error:
        raise InputError(_out_of_memory(photo, error)) from error
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise InputError(_out_of_memory(photo, error)) from error
        raise InputError(
            f"{photo} could not be matted, by a fault of this program: OpenCV's {error.func} "
            f"says '{error.err}'; please report it with the photo."
        ) from error


def _out_of_memory(photo: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"{photo} takes more memory than there is ({reason}); make it smaller."


def write_files(job: Job, out: Path | None, keep: Collection[Path] = ()) -> OutputWriter:
    """A writer for `process` that writes the job's files atomically.

    Parameters
    ----------
    job : Job
    out : Path or None
        Folder that remembers them, if one does.
    keep : collection of Path
        Those of its files that are somebody's work: they are moved aside.
    """
    is_file = isinstance(job.source, Path) and job.source.is_file()
    photo = journal.state_of(job.source) if is_file else None

    def write(kind: str, content: bytes, /) -> None:
        path = job.files[kind]
        with (atomic_write_keeping if path in keep else atomic_write)(path) as scratch:
            scratch.write_bytes(content)
            if out is not None:
                journal.add_entry(out, photo, path, job.keys[kind], journal.state_of(scratch))

    return write


@functools.lru_cache(maxsize=1)
def _loaded(request: Request, _run: str) -> LoadedRequest:
    """What a worker process serves the jobs of a run with; its warnings were shown before.

    The next run loads it again: files of the request may have changed, and workers of a
    cluster live long.
    """
    with collected_warnings():
        return LoadedRequest(request)


def run_job(job: Job, request: Request, out: Path, run: str) -> Result:
    """One of many jobs, remembered in the output folder: its failure is a result.

    Parameters
    ----------
    job : Job
    request : Request
    out : Path
    run : str
        Stands for all jobs of one run.

    Raises
    ------
    InputError
        As `LoadedRequest`: what concerns every photo.
    """
    loaded = _loaded(request, run)
    try:
        return process(job, loaded, request, write_files(job, out))
    except (InputError, OSError) as error:
        return failure(job, error)


def failure(job: Job, error: InputError | OSError) -> Result:
    """The result of a job that failed."""
    told = f"{job.name}: {sentence_of(error)}" if isinstance(error, OSError) else str(error)
    return Result(job.name, FAILED, told)


def request_keys(request: Request) -> dict[str, str]:
    """What stands for the request in the journal, by kind of output.

    It changes with all that decides the pixels, except the photo and its companion.
    """
    if request.guidance:
        model, _ = request.guidance
    elif request.segmenter:
        files = (request.segmenter.path, request.segmenter.prototxt)
        digests = [path and _digest(path) for path in files]
        model = [digests, str(replace(request.segmenter, path=Path(), prototxt=None))]
    else:
        model = _model_key(request.model)
    mu = request.mu
    if request.guidance or request.segmenter:
        mu = mu or 0.0  # their default
    named = is_image_file(request.background)
    background = _digest(Path(request.background)) if named else request.background
    return {
        kind: content_key(
            (OUTPUTS_VERSION, MATTES_VERSION),
            kind,
            request.suffix,
            (model, mu),
            (background, request.match_colors) if kind in ON_BACKGROUND else None,
        )
        for kind in request.kinds
    }


def _model_key(name: str) -> list:
    """What stands for a model: its files, and how they are used."""
    model = MODELS[name]
    digests = [_digest(path) for path in _model_files(name)]
    settings = (
        model.test_time_augmentation,
        model.second_opinion,
        model.person_masks,
        model.multiclass,
        model.affinity_weight,
    )
    return [digests, settings]


def _model_files(name: str) -> Iterator[Path]:
    model = MODELS[name]
    yield from (model.deploy, model.weights, model.shape_mask)
    if model.second_opinion is not None:
        yield from _model_files(model.second_opinion)


def _digest(path: Path) -> str | None:
    return sha256_of(path) if path.is_file() else None


@dataclass(frozen=True)
class Plan:
    """Jobs of a run, and the notes to print before it.

    Attributes
    ----------
    jobs : list of Job
    remarks : list of str
        Sentences on what is skipped or gets another name.
    """

    jobs: list[Job]
    remarks: list[str]


def plan(places: Sequence[str], out: Path, request: Request) -> Plan:
    """Jobs of all photos that are named or in the folders that are named.

    The folders are repeated in `out`, each in a folder of its own name if several
    places are given.

    Parameters
    ----------
    places : sequence of str
        Photos, folders, pipes.
    out : Path
    request : Request

    Raises
    ------
    InputError
        If there are no photos, `out` is one of the folders, an output would replace
        what is read, a trimap, mask, matte or background of many photos does not exist or
        is a pipe, or one trimap, mask or matte is given for several photos.
    """
    _, guidance = request.guidance or (None, None)
    for given in (guidance, request.background):
        if given is not None and is_stream(Path(given)):
            raise InputError(f"{given} can be read once only; save it to a file for many photos.")
    photos: dict[str, tuple[Path | bytes, Path]] = {}  # source and name in `out`
    remarks = []
    for place in places:
        path = Path(place)
        if place == PIPE or is_stream(path):
            photos.setdefault(name_of(place), (content_of(place), name_in_folder(place)))
        elif not path.is_dir():
            photos.setdefault(name_of(place), (path, name_in_folder(place)))
        else:
            if out.resolve() == path.resolve():
                raise InputError(f"{out} holds the photos; choose another folder with -o.")
            listing = list_photos(path, out, (*OUTPUTS, *EFFECTS))
            passed_over = [f"passed over in {place}: {each}" for each in listing.passed_over()]
            if not listing.photos:
                kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
                raise InputError(" ".join([f"{path} holds no photos ({kinds}).", *passed_over]))
            remarks += passed_over
            base = Path(path.resolve().name) if len(places) > 1 else Path()
            for photo in listing.photos:
                photos.setdefault(str(photo), (photo, base / photo.relative_to(path)))
    targets = unique_targets([name for _, name in photos.values()])
    renamed = [
        f"{photo} is written as {target}"
        for (photo, (_, name)), target in zip(photos.items(), targets, strict=True)
        if target != name.with_suffix("")
    ]
    if renamed:
        remarks.append(f"some photos have one name: {some(renamed)}.")
    jobs = jobs_of(
        [(name, source) for name, (source, _) in photos.items()],
        targets,
        [files_of(out / target, request) for target in targets],
        request,
    )
    return Plan(with_keys(jobs, request), remarks)


def jobs_of(
    photos: Sequence[tuple[str, Path | bytes]],
    targets: Sequence[Path],
    files: Sequence[Mapping[str, Path]],
    request: Request,
) -> list[Job]:
    """Jobs of photos with their companions.

    Parameters
    ----------
    photos : sequence of (str, Path or bytes)
        Names for messages, and sources.
    targets : sequence of Path
        Names of the outputs in their folder, without kind and suffix.
    files : sequence of mapping of str to Path
        By kind of output.
    request : Request

    Raises
    ------
    InputError
        If an output would replace what is read, or the trimap, mask or matte does not exist
        or is one file for several photos.
    """
    companions = None
    if request.guidance:
        kind, given = request.guidance
        stems = [
            source.stem if isinstance(source, Path) else target.name
            for (_, source), target in zip(photos, targets, strict=True)
        ]
        companions = Companions(given, kind, targets, stems)
    jobs = []
    for (name, source), target, paths in zip(photos, targets, files, strict=True):
        job = Job(name, source, paths)
        if companions:
            try:
                job = dataclasses.replace(job, companion=companions.find(target, name))
            except InputError as error:
                job = dataclasses.replace(job, problem=str(error))
        jobs.append(job)
    refuse_overwriting(
        (path for job in jobs for path in job.files.values()), _read_files(jobs, request)
    )
    return jobs


def _read_files(jobs: Iterable[Job], request: Request) -> Iterator[Path]:
    """Every file that jobs read."""
    if is_image_file(request.background):
        yield Path(request.background)
    for job in jobs:
        yield job.source if isinstance(job.source, Path) else Path("/dev/stdin")
        if job.companion is not None:
            yield job.companion


def with_keys(jobs: Iterable[Job], request: Request) -> list[Job]:
    """Jobs with what stands in the journal for what was asked of them."""
    keys = request_keys(request)
    return [replace(job, keys=_with_companion(keys, job)) for job in jobs]


def _with_companion(keys: Mapping[str, str], job: Job) -> dict[str, str]:
    """Keys of a job: those of the request, and its trimap, mask or matte."""
    if job.companion is None:
        return dict(keys)
    digest = _digest(job.companion)
    return {kind: content_key(key, digest) for kind, key in keys.items()}


def name_of(place: str) -> str:
    """What messages call a single photo."""
    return "standard input" if place == PIPE else str(Path(place))


def content_of(place: str) -> bytes:
    """The photo that comes through a pipe."""
    if place != PIPE:
        return read_stream(Path(place))
    with open(0, "rb", closefd=False) as stream:
        return stream.read(LARGEST_FILE + 1)


def name_in_folder(place: str) -> Path:
    """What a single photo is called in an output folder, with its suffix."""
    nameless = place == PIPE or Path(place).parts[:2] in (("/", "dev"), ("/", "proc"))
    return Path(STREAM_STEM if nameless else Path(place).name)


def files_of(target: Path, request: Request) -> dict[str, Path]:
    """Files of a photo, by kind: the target's name, the kind and a suffix."""
    return {
        kind: target.with_name(f"{target.name}_{kind}{suffix_of(kind, request)}")
        for kind in request.kinds
    }


def run_jobs(
    jobs: Sequence[Job],
    request: Request,
    out: Path,
    workers: int,
    overwrite: bool,
    scheduler: str | None = None,
) -> Iterator[Result]:
    """Run jobs, in parallel, past what fails; results in order.

    Parameters
    ----------
    jobs : sequence of Job
    request : Request
    out : Path
        Folder that remembers what is done.
    workers : int
        Processes, which share the processors.
    overwrite : bool
        Also what is done already, and over files that somebody changed.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers do the work instead
        (`data_prep.common.parallel.open_workers`).

    Raises
    ------
    InputError
        As `run_job` and `open_workers`.
    """
    # One photo does not need it.
    from data_prep.common.parallel import available_workers, open_workers

    skipped = {} if overwrite else _skipped(jobs, out)
    fresh = [job for job in jobs if job.name not in skipped]
    workers = min(workers, max(1, len(fresh)))
    threads = max(1, available_workers() // max(1, workers))
    # Workers of a cluster may run in another folder.
    run = functools.partial(
        run_job, request=request.absolute(), out=out.absolute(), run=uuid.uuid4().hex
    )
    with open_workers(workers, scheduler, threads) as ordered_map:
        results = ordered_map(run, [job.absolute() for job in fresh])
        for job in jobs:
            result = skipped.get(job.name) or next(results)
            yield replace(result, files={kind: str(job.files[kind]) for kind in result.files})


def _skipped(jobs: Iterable[Job], out: Path) -> dict[str, Result]:
    """Results of jobs that are done already or would replace somebody's work, by name."""
    entries = journal.read_entries(out)
    results = {}
    for job in jobs:
        there = {kind: str(path) for kind, path in job.files.items() if path.is_file()}
        if job.is_done(entries, out):
            results[job.name] = Result(job.name, SKIPPED, files=there)
        elif not job.problem and (foreign := job.foreign_files(entries, out)):
            message = FOREIGN_FOUND.format(job.name, some(foreign))
            results[job.name] = Result(job.name, SKIPPED, message, files=there)
    return results


def default_workers() -> int:
    """One a core, as far as each can have `MEMORY_PER_WORKER`."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    from data_prep.common.parallel import available_workers

    return max(1, min(available_workers(), memory // MEMORY_PER_WORKER))
