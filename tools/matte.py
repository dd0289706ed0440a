#!/usr/bin/env python3
"""Cut the person out of a photo, of several, of every photo in a folder, or in a pipe.

    tools/matte.py photo.jpg                                # into out/
    tools/matte.py photo.jpg -o me.webp                     # the cut-out alone
    tools/matte.py photo.jpg --background beach.jpg --match-colors
    tools/matte.py photo.jpg --effects sheet                # every effect on one page
    tools/matte.py photos -o mattes --workers 2 --json      # a folder
    tools/matte.py a.jpg b.png photos -o mattes             # photos and folders
    tools/matte.py - < photo.jpg > cutout.png               # a pipe

Without further options it writes OUT/NAME_alpha.png (the matte),
NAME_cutout.png (the person on a transparent ground, free of the old
background's color) and NAME_sheet.png (photo, cut-out and matte side by side).
16-bit photos give 16-bit files; color profile and metadata are kept.

The output folder remembers (in .matte.jsonl) what was asked of each photo: of many photos,
what is there and unchanged is skipped.  A file that somebody changed or made is never lost.

Exit status: 0, 1 after a failure, 2 if the options are wrong or contradict each other,
3 if nobody is in the one photo.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import dataclasses
import itertools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from caffe_layers import __version__
from data_prep.common.errors import InputError, run_program, tell
from data_prep.common.files import require_folder
from data_prep.common.options import count, named_path, not_empty
from tools.matting.device import VARIABLE, add_gpu_option, choose_gpu
from tools.matting.models import (
    AFFINITY_PIXELS,
    AFFINITY_WEIGHT,
    DEFAULT_MODEL,
    MODELS,
    affinity_weight,
)
from tools.matting.segmenter_settings import SegmenterSettings
from tools.outputs import journal
from tools.outputs.batch import (
    DONE,
    FAILED,
    NOBODY,
    ON_BACKGROUND,
    PIPE,
    SKIPPED,
    SUFFIXES,
    OutputWriter,
    Result,
    content_of,
    default_workers,
    failure,
    files_of,
    jobs_of,
    name_in_folder,
    name_of,
    plan,
    process,
    run_jobs,
    with_keys,
    write_files,
)
from tools.outputs.effects import EFFECTS
from tools.outputs.rendering import (
    BLUR,
    OUTPUTS,
    Job,
    LoadedRequest,
    Request,
    is_image_file,
    read_background,
)

DEFAULT_OUTPUTS = ("alpha", "cutout", "sheet")
NOBODY_STATUS = 3
EFFECTS_SHEET, ALL_EFFECTS = "sheet", "all"


def build_parser() -> argparse.ArgumentParser:
    """Parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "photos",
        nargs="+",
        type=not_empty,
        metavar="photo",
        help=f"photos, folders of photos, or {PIPE} for standard input",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=not_empty,
        help=f"a folder (out), a file ({', '.join(SUFFIXES.values())}) for one output of one "
        f"photo, or {PIPE} for standard output",
    )
    parser.add_argument(
        "--model", choices=MODELS, help=f"net that finds the person ({DEFAULT_MODEL})"
    )
    parser.add_argument(
        "--trimap",
        type=named_path,
        help="in place of the model: gray image, 255 person, 0 background, else unknown; "
        "for many photos, a folder with the same folders and names, such as --output trimap writes",
    )
    parser.add_argument(
        "--mask",
        type=named_path,
        help="in place of the model: gray image of any segmenter, whose border is refined",
    )
    parser.add_argument(
        "--alpha",
        type=named_path,
        help="in place of model and solve: a matte of the photo's size, gray or the alpha channel "
        "of a cut-out, which is kept as it is",
    )
    parser.add_argument(
        "--segmenter",
        type=named_path,
        metavar="FILE.onnx|FILE.caffemodel",
        help="in place of the model: any segmentation net, whose masks are refined",
    )
    parser.add_argument(
        "--segmenter-settings",
        metavar="FILE.json|JSON",
        help="how it takes pictures and gives masks, beyond the JSON file beside it",
    )
    parser.add_argument(
        "--nonlocal",
        dest="mu",
        metavar="MU",
        type=affinity_weight,
        help="tie unknown pixels of like colors to each other, with this weight; 0: do not "
        f"(default: {AFFINITY_WEIGHT:g} for the default model, in photos with up to "
        f"{AFFINITY_PIXELS:,} unknown pixels, else 0)",
    )
    outputs = tuple(kind for kind in OUTPUTS if kind != "effects")
    parser.add_argument("--output", type=_list_of(outputs), help=f"of {', '.join(outputs)}")
    parser.add_argument(
        "--background",
        type=not_empty,
        metavar=f"COLOR|IMAGE|{BLUR}",
        help="of the composite, and asks for it",
    )
    parser.add_argument(
        "--match-colors", action="store_true", help="fit the person's colors to the background"
    )
    parser.add_argument(
        "--effects",
        type=_list_of((EFFECTS_SHEET, ALL_EFFECTS, *EFFECTS)),
        default=(),
        help=f"{EFFECTS_SHEET} (all on one page), {ALL_EFFECTS} (a file each), or of "
        f"{', '.join(EFFECTS)}",
    )
    parser.add_argument(
        "--format",
        choices=SUFFIXES,
        help="png (default), webp, tiff (16 bits), or jpg for what is not transparent",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="matte again what was done before, and replace files that somebody changed",
    )
    folders = parser.add_argument_group("folders")
    where = folders.add_mutually_exclusive_group()
    where.add_argument("--workers", type=count, help="processes (one a core and 4 GiB)")
    where.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="of a Dask scheduler, such as tcp://host:8786, whose workers do the work instead",
    )
    add_gpu_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON line a photo")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Target, Request]:
    """Options of the command line, where the pictures go, and what is asked of every photo.

    Ends the program with status 2 if they are wrong.

    Raises
    ------
    InputError
        If the segmenter or its settings cannot be read.
    """
    parser = build_parser()
    options = parser.parse_intermixed_args(
        _without_separator(sys.argv[1:] if argv is None else argv)
    )
    try:
        target = Target.of(options)
        check(options, target)
        request = request_of(options, target)
    except InputError as error:
        parser.error(str(error))
    if options.segmenter:
        settings = SegmenterSettings.read(options.segmenter, options.segmenter_settings)
        request = dataclasses.replace(request, segmenter=settings)
    return options, target, request


def _without_separator(arguments: Sequence[str]) -> list[str]:
    """The same without ``--``, which argparse does not know among options and photos.

    Photos behind it whose names begin with a dash get a folder before them.
    """
    options = list(itertools.takewhile(lambda argument: argument != "--", arguments))
    photos = arguments[len(options) + 1 :]
    return options + [
        f"./{photo}" if photo.startswith("-") and photo != PIPE else photo for photo in photos
    ]


def is_one_photo(options: argparse.Namespace) -> bool:
    """Whether one photo is named, not a folder or several."""
    return len(options.photos) == 1 and not Path(options.photos[0]).is_dir()


def check(options: argparse.Namespace, target: Target) -> None:
    """Refuse options that contradict each other or would do nothing.

    Raises
    ------
    InputError
    """
    ways = ("model", "trimap", "mask", "alpha", "segmenter")
    given = [f"--{name}" for name in ways if getattr(options, name)]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other.")
    if options.segmenter_settings and not options.segmenter:
        raise InputError("--segmenter-settings needs --segmenter.")
    if options.alpha and options.mu is not None:
        raise InputError("--nonlocal is of the solve, which --alpha leaves out; drop one of them.")
    if options.match_colors and options.background in (None, BLUR):
        raise InputError("--match-colors needs --background with a color or an image.")
    if options.cluster and options.gpu is not None:
        raise InputError(
            "--gpu is of this machine; start the workers of --cluster with "
            f"{VARIABLE}={options.gpu} instead."
        )
    if options.cluster and is_one_photo(options):
        raise InputError("--cluster is for folders and several photos; leave it out for one.")
    if target.single and not is_one_photo(options):
        several = len(options.photos) > 1
        what = "There are several photos" if several else f"{options.photos[0]} is a folder"
        raise InputError(f"{what}, so -o has to name a folder too, not {target}.")
    if target.path is None and options.json:
        raise InputError("--json and the picture both want standard output; give -o a name.")


def _list_of(choices: tuple[str, ...]):
    def names(text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(text.split(",")))
        for name in given:
            if name not in choices:
                raise argparse.ArgumentTypeError(
                    f"{name or 'nothing'} is not one of {', '.join(choices)}"
                )
        return given

    return names


def kinds_of(options: argparse.Namespace, single: bool) -> tuple[str, ...]:
    """Outputs that the options ask for.

    Parameters
    ----------
    options : Namespace
    single : bool
        Whether there is room for one output only.
    """
    effects = []
    for name in options.effects:
        if name == EFFECTS_SHEET:
            effects.append("effects")
        elif name == ALL_EFFECTS:
            effects.extend(EFFECTS)
        else:
            effects.append(name)
    if options.output is not None:
        outputs = options.output
    elif options.background is not None and "effects" not in effects:
        outputs = ("composite",)
    elif effects:
        outputs = ()
    else:
        outputs = ("cutout",) if single else DEFAULT_OUTPUTS
    return tuple(dict.fromkeys((*outputs, *effects)))


@dataclasses.dataclass(frozen=True)
class Target:
    """Where the pictures go: a folder, a file of one picture, or standard output.

    Attributes
    ----------
    path : Path or None
        None is standard output.
    suffix : str or None
        Suffix of the file; None for a folder and for standard output.
    """

    path: Path | None
    suffix: str | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> Target:
        """What -o names: a name with a suffix is a file, unless a folder has it.

        Raises
        ------
        InputError
            If it has another suffix than a picture's.
        """
        name = options.out or (PIPE if options.photos == [PIPE] else "out")
        if name == PIPE:
            return cls(None)
        path = Path(name)
        if path.is_dir() or name.endswith("/"):
            return cls(path)
        suffix = {".tiff": ".tif", ".jpeg": ".jpg"}.get(path.suffix.lower(), path.suffix.lower())
        if suffix in SUFFIXES.values():
            return cls(path, suffix)
        if any(character.isalpha() for character in suffix):
            raise InputError(
                f"-o {name} is no picture that is written here; let it end in "
                f"{', '.join(SUFFIXES.values())}, or in / if it is to be a folder."
            )
        return cls(path)

    @property
    def single(self) -> bool:
        """Whether there is room for one output only."""
        return self.path is None or self.suffix is not None

    @property
    def folder(self) -> Path | None:
        """The folder, that of the file, or None."""
        return self.path.parent if self.path and self.suffix else self.path

    def __str__(self) -> str:
        return "standard output" if self.path is None else str(self.path)


def request_of(options: argparse.Namespace, target: Target) -> Request:
    """What the options ask of every photo; a segmenter is not read yet.

    Raises
    ------
    InputError
        If they contradict each other, or the background is neither a file nor a color.
    """
    suffix = SUFFIXES[options.format or "png"]
    if target.suffix:
        if options.format and suffix != target.suffix:
            raise InputError(f"-o {target} and --format {options.format} contradict each other.")
        suffix = target.suffix
    kinds = kinds_of(options, target.single)
    if target.single and len(kinds) != 1:
        raise InputError(
            f"-o {target} has room for one output, not for {', '.join(kinds)}; name a folder."
        )
    if suffix == ".jpg" and "cutout" in kinds:
        raise InputError("JPEG holds no transparency; choose png, webp or tiff for cut-outs.")
    if "composite" in kinds and options.background is None:
        raise InputError("--output composite needs --background.")
    if options.background is not None and not set(kinds).intersection(ON_BACKGROUND):
        raise InputError(
            "--background is of the composite and the sheet of effects; add composite to --output."
        )
    if not is_image_file(options.background):
        read_background(options.background)
    return Request(
        kinds=kinds,
        suffix=suffix,
        model=options.model or DEFAULT_MODEL,
        mu=options.mu,
        background=options.background,
        match_colors=options.match_colors,
        trimap=options.trimap,
        mask=options.mask,
        alpha=options.alpha,
    )


def main(argv: list[str] | None = None) -> int:
    """Matte what the command line names; returns the exit status."""
    options, target, request = parse(argv)
    choose_gpu(options.gpu)
    if target.folder is not None:
        require_folder(target.folder)
    if is_one_photo(options):
        return matte_photo(options.photos[0], target, request, options)
    return matte_many(options.photos, target, request, options)


def matte_photo(photo: str, target: Target, request: Request, options: argparse.Namespace) -> int:
    """Matte one photo, from a file or a pipe; returns the exit status."""
    name = name_in_folder(photo).with_suffix("")
    if target.path is None:
        if sys.stdout is None:
            raise InputError("Standard output is closed; send it to a file.")
        if sys.stdout.isatty():
            raise InputError("A terminal shows no pictures; send standard output to a file.")
        files = {}
    elif target.suffix:
        files = {request.kinds[0]: target.path}
    else:
        files = files_of(target.path / name, request)
    source = content_of(photo) if photo == PIPE else Path(photo)
    (job,) = jobs_of([(name_of(photo), source)], [name], [files], request)
    try:
        write = _writer(job, target, request, options.overwrite) if files else _write_to_pipe
        result = process(job, LoadedRequest(request), request, write)
    except (InputError, OSError) as error:
        if options.json:
            print(_json_of(failure(job, error)))
        raise
    _report(result)
    if options.json:
        print(_json_of(result))
    if result.status == NOBODY:
        return NOBODY_STATUS
    if files and not options.json:
        print(_done_sentence(result))
    return 0


def _writer(job: Job, target: Target, request: Request, overwrite: bool) -> OutputWriter:
    """What writes the files of one photo; a folder remembers them, a file's does not."""
    folder = target.folder
    entries = journal.read_entries(folder)
    keep = [] if overwrite else job.foreign_files(entries, folder)
    if target.suffix:
        return write_files(job, None, keep)
    (job,) = with_keys([job], request)
    return write_files(job, folder, keep)


def _json_of(result: Result) -> str:
    return json.dumps(dataclasses.asdict(result))


def _report(result: Result) -> None:
    """Report the warnings about a photo, and why it failed or was skipped."""
    for sentence in result.warnings:
        tell(sentence)
    if result.message:
        tell(result.message)


def _write_to_pipe(_kind: str, content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _done_sentence(result: Result) -> str:
    """One sentence on a photo that is done."""
    return (
        f"{result.photo}, {result.width}x{result.height}, {result.seconds:.1f} s: "
        f"wrote {', '.join(result.files.values())}"
    )


def matte_many(
    places: Sequence[str], target: Target, request: Request, options: argparse.Namespace
) -> int:
    """Matte photos and all photos of folders; what fails is listed at the end."""
    from tqdm import tqdm

    planned = plan(places, target.path, request)
    for sentence in planned.remarks:
        tell(sentence)
    read_background(request.background)  # said once, not by every worker
    workers = options.workers if options.workers is not None else default_workers()
    results = []
    running = run_jobs(
        planned.jobs, request, target.path, workers, options.overwrite, options.cluster
    )
    for result in tqdm(running, "matting", len(planned.jobs), unit="photo"):
        results.append(result)
        if options.json:
            tqdm.write(_json_of(result))  # above the bar
    for result in results:
        _report(result)
    counts = Counter(result.status for result in results)
    if not options.json:
        photos = "1 photo" if len(results) == 1 else f"{len(results)} photos"
        print(
            f"{photos}: {counts[DONE]} done into {target}, {counts[SKIPPED]} there "
            f"already, {counts[NOBODY]} without a person, {counts[FAILED]} failed"
        )
    return 1 if counts[FAILED] else 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
