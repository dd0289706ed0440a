#!/usr/bin/env python3
"""Cut the person out of a photo, of every photo in a folder, or in a pipe.

    tools/matte.py photo.jpg                                # into out/
    tools/matte.py photo.jpg -o me.webp                     # the cut-out alone
    tools/matte.py photo.jpg --background beach.jpg --match-colors
    tools/matte.py photo.jpg --effects sheet                # every effect on one page
    tools/matte.py photos -o mattes --workers 2 --json      # a folder
    tools/matte.py - < photo.jpg > cutout.png               # a pipe

Without further options it writes OUT/NAME_alpha.png (the matte),
NAME_cutout.png (the person on a transparent ground, free of the old
background's color) and NAME_sheet.png (photo, cut-out and matte side by side).
16-bit photos give 16-bit files; color profile and metadata are kept.

Exit status: 0, 1 after a failure, 2 after a wrong option, 3 if nobody is in the
one photo.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from data_prep.errors import InputError, run_program
from data_prep.pictures import LARGEST_FILE
from tools.effects import EFFECTS
from tools.matte_jobs import (
    BLUR,
    DONE,
    FAILED,
    NOBODY,
    OUTPUTS,
    SKIPPED,
    SUFFIXES,
    Job,
    Request,
    Result,
    Workbench,
    default_workers,
    files_of,
    plan,
    process,
    run_jobs,
    write_files,
)

PIPE = "-"
DEFAULT_OUTPUTS = ("alpha", "cutout", "sheet")
NOBODY_STATUS = 3
EFFECTS_SHEET, ALL_EFFECTS = "sheet", "all"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    from tools.predict import MODELS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", help=f"a photo, a folder, or {PIPE} for standard input")
    parser.add_argument(
        "-o", "--out",
        help=f"a folder (out), a file for one output of one photo, or {PIPE} for standard output",
    )  # fmt: skip
    parser.add_argument("--model", choices=MODELS, default="selfie")
    parser.add_argument(
        "--trimap", type=Path,
        help="in place of the model: gray image, 255 person, 0 background, else unknown; "
        "for a folder of photos, a folder with the same names",
    )  # fmt: skip
    parser.add_argument(
        "--mask", type=Path,
        help="in place of the model: gray image of any segmenter, whose border is refined",
    )  # fmt: skip
    outputs = tuple(kind for kind in OUTPUTS if kind != "effects")
    parser.add_argument("--output", type=_list_of(outputs), help=f"of {', '.join(outputs)}")
    parser.add_argument(
        "--background", metavar=f"COLOR|IMAGE|{BLUR}", help="of the composite, and asks for it"
    )
    parser.add_argument(
        "--match-colors", action="store_true", help="fit the person's colors to the background"
    )
    parser.add_argument(
        "--effects", type=_list_of((EFFECTS_SHEET, ALL_EFFECTS, *EFFECTS)), default=(),
        help=f"{EFFECTS_SHEET} (all on one page), {ALL_EFFECTS} (a file each), or of "
        f"{', '.join(EFFECTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=SUFFIXES,
        help="png (default), webp, tiff (16 bits), or jpg for what is not transparent",
    )  # fmt: skip
    folders = parser.add_argument_group("folders")
    folders.add_argument("--workers", type=int, help="processes (one a core and 4 GiB)")
    folders.add_argument(
        "--overwrite", action="store_true", help="matte again what was done before"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line a photo")
    options = parser.parse_args(argv)
    if options.trimap and options.mask:
        parser.error("--trimap and --mask exclude each other")
    if "composite" in (options.output or ()) and options.background is None:
        parser.error("--output composite takes --background")
    return options


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


def main(argv: list[str] | None = None) -> int:
    """Matte what the command line names; returns the exit status."""
    options = parse(argv)
    out = options.out or (PIPE if options.photo == PIPE else "out")
    # A name with an image's suffix is a file, unless a folder has it.
    suffix = Path(out).suffix.lower().replace(".tiff", ".tif").replace(".jpeg", ".jpg")
    to_file = out != PIPE and suffix in SUFFIXES.values() and not Path(out).is_dir()
    single = out == PIPE or to_file
    given = SUFFIXES[options.format or "png"]
    if to_file and options.format and given != suffix:
        raise InputError(f"{out} and --format {options.format} contradict each other.")
    request = Request(
        kinds=kinds_of(options, single),
        suffix=suffix if to_file else given,
        model=options.model,
        background=options.background,
        match_colors=options.match_colors,
        trimap=options.trimap,
        mask=options.mask,
    )
    if single and len(request.kinds) != 1:
        raise InputError(
            f"{'Standard output' if out == PIPE else out} has room for one output, "
            f"not for {', '.join(request.kinds)}; give a folder with -o."
        )
    if request.suffix == ".jpg" and "cutout" in request.kinds:
        raise InputError("JPEG holds no transparency; choose png, webp or tiff for cut-outs.")
    if out == PIPE and sys.stdout.isatty():
        raise InputError("A terminal shows no pictures; send standard output to a file.")
    if options.photo != PIPE and Path(options.photo).is_dir():
        if single:
            raise InputError(f"{options.photo} is a folder, so -o {out} has to be one too.")
        return matte_folder(Path(options.photo), Path(out), request, options)
    if out == PIPE and options.json:
        raise InputError("--json and the picture both want standard output; give -o a name.")
    return matte_photo(options.photo, out, to_file, request, options.json)


def matte_photo(photo: str, out: str, to_file: bool, request: Request, as_json: bool) -> int:
    """Matte one photo, from a file or standard input."""
    if photo == PIPE:
        name, source = "standard input", sys.stdin.buffer.read(LARGEST_FILE + 1)
    else:
        name, source = photo, Path(photo)
    if out == PIPE:
        job = Job(name, source)
    elif to_file:
        job = Job(name, source, {request.kinds[0]: Path(out)})
    else:
        stem = "stdin" if photo == PIPE else Path(photo).stem
        job = Job(name, source, files_of(Path(out, stem), request))
    write = write_files(job) if job.files else _write_to_pipe
    result = process(job, Workbench(request), request, write)
    if as_json:
        print(json.dumps(dataclasses.asdict(result)))
    if result.status == NOBODY:
        print(
            f"matte.py: nobody was found in {name}; "
            "name the person with --mask or --trimap.", file=sys.stderr,
        )  # fmt: skip
        return NOBODY_STATUS
    if job.files and not as_json:
        print(_told(result, request))
    return 0


def _write_to_pipe(_kind: str, content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _told(result: Result, request: Request) -> str:
    """One sentence on a photo that is done."""
    note = ""
    if request.trimap is None and request.mask is None and result.faces == 0:
        note = " (no face found: the size of the head is a guess)"
    return (
        f"{result.photo}, {result.width}x{result.height}, {result.seconds:.1f} s: "
        f"wrote {', '.join(result.files.values())}{note}"
    )


def matte_folder(folder: Path, out: Path, request: Request, options: argparse.Namespace) -> int:
    """Matte every photo of a folder; what fails is listed at the end."""
    jobs = plan(folder, out, request)
    workers = options.workers if options.workers is not None else default_workers()
    results = []
    running = run_jobs(jobs, request, workers, options.overwrite)
    for result in tqdm(running, "matting", len(jobs), unit="photo"):
        results.append(result)
        if options.json:
            tqdm.write(json.dumps(dataclasses.asdict(result)), file=sys.stdout)
    for result in results:
        if result.status == FAILED:
            print(f"matte.py: {result.message}", file=sys.stderr)
        elif result.status == NOBODY:
            print(f"matte.py: nobody was found in {result.photo}", file=sys.stderr)
    counts = Counter(result.status for result in results)
    if not options.json:
        print(
            f"{len(jobs)} photos: {counts[DONE]} done into {out}, {counts[SKIPPED]} there "
            f"already, {counts[NOBODY]} without a person, {counts[FAILED]} failed"
        )
    return 1 if counts[FAILED] else 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
