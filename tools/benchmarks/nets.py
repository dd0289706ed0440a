"""Measure what Caffe takes for the paper's net, layer by layer, on the processor.

    .venv/bin/python -m tools.benchmarks.nets run       # writes docs/net_bench.json
    .venv/bin/python -m tools.benchmarks.nets readme    # and docs/benchmark.md

`caffe time` measures; peak memory is that of its process, which also goes backward.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.common.errors import InputError, run_program
from prototxt.catalog import NETS
from tools.evaluation.report import (
    BENCHMARK,
    describe_machine,
    markdown_table,
    peak_bytes,
    read_report,
    renew_section,
    shown,
    write_report,
)
from tools.matting.device import caffe_program
from tools.matting.models import ROOT

RESULTS = ROOT / "docs/net_bench.json"
SECTION, COMMAND = "net-bench", "make net-bench"  # the section of docs/benchmark.md
ITERATIONS = 5
#: The paper's net and the same at half size.
FORWARD = ("fcn8s", "fcn8s_half")
#: Nets whose training iteration is measured, and how many iterations.
TRAINING = {"lite": 5, "fcn8s": 1}

#: Beginnings of the names of an FCN's layers, by what they do.
PARTS = {
    "convolutions of VGG-16": ("conv", "relu", "pool"),
    "fc6 and fc7": ("fc", "drop"),
    "scores and upsampling": ("score", "up", "fuse", "crop"),
}


class LayerTimes(NamedTuple):
    """What `caffe time` says of a net.

    Attributes
    ----------
    seconds : dict
        Means by layer and direction, such as ``"conv1_1 forward"``.
    peak_bytes : int
        Memory of its process.
    """

    seconds: dict[str, float]
    peak_bytes: int


def layer_times(model: Path, phase: str, iterations: int) -> LayerTimes:
    """Time of a net's layers by `caffe time`, from fresh weights.

    Parameters
    ----------
    model : Path
    phase : {"TRAIN", "TEST"}
    iterations : int

    Raises
    ------
    InputError
        If Caffe ends early, or is not built.
    """
    environment = {k: v for k, v in os.environ.items() if k != "GLOG_minloglevel"}
    command = ["time", "-model", str(model), "-iterations", str(iterations), "-phase", phase]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [caffe_program(), *command],
            cwd=ROOT,  # the net names its databases from there
            stdout=subprocess.DEVNULL,
            stderr=output,
            env=environment,
        )
        most = 0
        while process.poll() is None:
            most = max(most, peak_bytes(process.pid))
            time.sleep(0.02)
        output.seek(0)
        log = output.read()
    found = re.findall(r"\s(\S+)\s+(forward|backward): ([\d.]+) ms", log)
    if "Average Forward-Backward" not in log:
        raise InputError(
            f"`caffe time` with {shown(model)} ended early; run `make data` first. "
            f"Its last words: {log.strip().splitlines()[-1:]}"
        )
    seconds = {f"{layer} {direction}": float(ms) / 1e3 for layer, direction, ms in found}
    return LayerTimes(seconds, most)


def training_share(net: str, iterations: int) -> dict[str, float]:
    """Seconds of the matting layer and of a whole training iteration."""
    seconds = layer_times(NETS[net].train_val, "TRAIN", iterations).seconds
    layer = sum(seconds[f"alpha {direction}"] for direction in ("forward", "backward"))
    return {"layer_seconds": layer, "iteration_seconds": sum(seconds.values())}


def forward_parts(net: str, iterations: int) -> dict[str, float]:
    """Seconds of the forward pass of a net without its matting layer, by `PARTS`, and memory."""
    seconds, peak_bytes = layer_times(NETS[net].trimap_deploy, "TEST", iterations)
    forward = {name: value for name, value in seconds.items() if name.endswith(" forward")}
    parts = {
        part: sum(value for name, value in forward.items() if name.startswith(begins))
        for part, begins in PARTS.items()
    }
    return {**parts, "all layers": sum(forward.values()), "peak_bytes": peak_bytes}


def measure() -> dict[str, Any]:
    """Everything that the section shows."""
    return {
        "machine": describe_machine(("mkl",)),
        "forward": {net: forward_parts(net, ITERATIONS) for net in FORWARD},
        "training": {net: training_share(net, count) for net, count in TRAINING.items()},
    }


def nets_section(report: dict) -> str:
    """Section of docs/benchmark.md, in Markdown."""
    machine, forward = report["machine"], report["forward"]
    rows = [
        [part, *(f"{net[part]:.2f}" for net in forward.values())] for part in (*PARTS, "all layers")
    ]
    rows.append(
        ["peak memory", *(f"{net['peak_bytes'] / 2**30:.1f} GiB" for net in forward.values())]
    )
    shares = " and ".join(
        f"{each['layer_seconds']:.2f} of {each['iteration_seconds']:.1f} s ({net})"
        for net, each in report["training"].items()
    )
    return "\n\n".join(
        [
            "Forward pass of the paper's net at 600 x 800, and at half that size, in seconds, by "
            f"`caffe time` on {machine['cores']} cores of an {machine['processor']} "
            f"({machine['date']}):",
            markdown_table(["", *forward], rows),
            f"In a training iteration from fresh weights the matting layer takes {shares}.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="measure")
    commands.add_parser("readme", help=f"put the table into {shown(BENCHMARK)}")
    options = parser.parse_args(argv)
    if options.command == "run":
        report = measure()
        write_report(RESULTS, report)
        print(nets_section(report))
    else:
        report = read_report(RESULTS, COMMAND)
        renew_section(BENCHMARK, SECTION, COMMAND, nets_section(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
