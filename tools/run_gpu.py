#!/usr/bin/env python3
"""Check a GPU against the CPU, time nets on it, train there, and leave the results.

    tools/run_gpu.py --gpu 0 --compare lite portrait --time fcn8s --train lite
    tools/run_gpu.py --train lite --iterations 20           # the same on the CPU

The steps, in this order: weights that came in float16 are written as caffemodels; outputs
and all gradients of a training pass are compared with the CPU's; Caffe's own tests of the
layers that the nets use; times of nets, of the matting layer and of photos; the training,
in two stages with snapshots; losses, weights in float16 pieces and mattes of the test list.

Each step is written to OUT/report.json as it ends, with the reason where it failed, and the
next one begins.  Started again with the same options the program skips what is done, and the
training goes on from its last snapshot.  Exit status: 0 if nothing failed.
tools/pack_gpu.py puts all that this needs into one archive.

Paths that are given are those of the folder that the program is run in, the default ones lie
in the checkout.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import json
import os
import re
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from caffe_layers import _laplacian  # type: ignore[attr-defined]  # compiled
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.matting import MattingFunction
from caffe_layers.threads import map_in_threads
from data_prep.common.errors import InputError, run_program
from data_prep.common.images import write_image
from data_prep.common.options import count
from data_prep.datasets.dataset import Dataset, load_portrait
from prototxt.catalog import NETS
from tools.evaluation.report import describe_machine, shown, write_report
from tools.matting.caffe_net import write_caffemodel
from tools.matting.device import (
    add_gpu_option,
    caffe_program,
    choose_gpu,
    chosen_gpu,
    enter_device,
)
from tools.matting.models import DEFAULT_MODEL, MODELS, ROOT, model_of_net
from tools.matting.pycaffe import load_caffe
from tools.outputs.sheets import render_trimap
from tools.portable.comparison import compare, with_databases
from tools.portable.pieces import half_weights, joined, pieces_of, weights_of_half, write_in_pieces
from tools.training.caffe_log import read_logs
from tools.training.stages import RECIPES, Stage, run_stages, stages_of
from tools.training.variants import scaled, varied_stage

#: Caffe's own tests of the layers that the nets are made of; those that need files of Caffe's
#: source tree are left out.
CAFFE_TESTS = "*ConvolutionLayer*:*CropLayer*:*SoftmaxLayer*"
#: Suites of the GPU and of cuDNN.
GPU_TESTS = "*/2.*:*/3.*:*GPU*:*CuDNN*"
#: Batches and threads that the matting layer is timed with, the size of its images, and how
#: many photos are timed.
BATCHES, THREADS = (1, 4, 8), (1, 2, 16)
SIDES = (480, 640)
PHOTOS = 3


# --- the steps: options in, what the report says out ----------------------------------------


def unpack_weights(_options: argparse.Namespace) -> dict:
    """Write the caffemodels that came in float16 and are not there."""
    written = []
    for first in sorted((ROOT / "data").glob("*/*.half.npz.00")):
        packed = first.with_suffix("")
        target = packed.with_name(packed.name.replace(".half.npz", ".caffemodel"))
        if not target.exists():
            write_caffemodel(target, weights_of_half(joined(pieces_of(packed))))
            written.append(str(target.relative_to(ROOT)))
    return {"written": written}


def compare_nets(options: argparse.Namespace) -> dict:
    """Outputs and gradients of each net against the CPU's."""
    found = {}
    for net in options.compare:
        weights = NETS[net].initial_weights()
        given = weights if weights.is_file() else None
        found[net] = compare(NETS[net].train_val, given, options.prepared)
    failed = [net for net, each in found.items() if not each["within"]]
    return {"nets": found, "ok": not failed}


def caffe_tests(_options: argparse.Namespace) -> dict:
    """Caffe's own tests, on the GPU if one is chosen; nothing where they were not packed."""
    program = ROOT / "caffe/test/test.testbin"
    if not program.is_file():
        return {"skipped": "the tests are not in this archive"}
    chosen = CAFFE_TESTS if chosen_gpu() is not None else f"{CAFFE_TESTS}-{GPU_TESTS}"
    # TF32 rounds products to three digits, which gradient checks do not forgive.
    environment = os.environ | {"NVIDIA_TF32_OVERRIDE": "0"}
    command = [str(program), f"--gtest_filter={chosen}"]
    if (gpu := chosen_gpu()) is not None:
        command.insert(1, str(gpu))
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    passed = re.search(r"\[  PASSED  \] (\d+) test", result.stdout)
    failed = re.findall(r"^\[  FAILED  \] (\S+)", result.stdout, re.MULTILINE)
    return {
        "passed": int(passed[1]) if passed else 0,
        "failed": sorted(set(failed)),
        "ok": result.returncode == 0,
    }


def time_nets(options: argparse.Namespace) -> dict:
    """Milliseconds of a forward and a backward pass of each net's warm start."""
    caffe = load_caffe()
    enter_device(caffe)
    found = {}
    for name in options.time:
        path = with_databases(NETS[name].trimap_train_val, options.prepared)
        net = caffe.Net(str(path), caffe.TRAIN)
        times: dict[str, list[float]] = {"forward": [], "backward": []}
        for _ in range(options.passes + 1):
            start = time.perf_counter()
            net.forward()  # hands out the loss, so it waits for the GPU
            middle = time.perf_counter()
            net.backward()
            next(iter(net.params.values()))[0].diff.sum()  # waits, too
            times["forward"].append(1000 * (middle - start))
            times["backward"].append(1000 * (time.perf_counter() - middle))
        # The first pass gets memory and chooses algorithms.
        found[name] = {part: float(np.median(values[1:])) for part, values in times.items()}
    return {"milliseconds": found}


def time_matting_layer(_options: argparse.Namespace) -> dict:
    """Images a second, forward and backward, of the matting layer's solves."""
    rng = np.random.default_rng(0)
    images = cv2.GaussianBlur(rng.uniform(0, 1, (*SIDES, 3 * max(BATCHES))), (0, 0), 3).reshape(
        *SIDES, max(BATCHES), 3
    )
    radius = np.hypot(*np.ogrid[-240:240, -320:320]) - 150
    foreground, background = (radius < -20).astype(float), (radius > 20).astype(float)
    most = _laplacian.threads()
    rates: dict[str, float] = {}
    try:
        for threads in sorted({min(each, most) for each in THREADS}):
            _laplacian.set_threads(threads)
            for batch in BATCHES:
                functions = [MattingFunction() for _ in range(batch)]

                def passes(n: int, functions=functions) -> None:
                    laplacian = matting_laplacian(images[:, :, n])
                    matte = functions[n].forward(laplacian, foreground, background)
                    functions[n].backward(matte)

                map_in_threads(passes, range(batch))
                start = time.perf_counter()
                map_in_threads(passes, range(batch))
                rate = batch / (time.perf_counter() - start)
                rates[f"batch {batch}, threads {threads}"] = rate
    finally:
        _laplacian.set_threads(most)
    return {"images_per_second": rates, "size": list(SIDES)}


def time_photos(options: argparse.Namespace) -> dict:
    """Seconds from photo to matte, of the first test photos, after one that loads everything."""
    from tools.matting.session import MattingSession

    if not MODELS[options.model].weights.is_file():
        return {"skipped": f"{MODELS[options.model].weights} is not in this archive"}
    session = MattingSession(options.model)
    portraits = Dataset.open(options.dataset).test[: PHOTOS + 1]
    seconds = []
    for portrait in portraits:
        photo, _ = load_portrait(portrait)
        start = time.perf_counter()
        trimap = session.estimate_trimap(photo)
        middle = time.perf_counter()
        session.matte(photo, trimap=render_trimap(trimap.probabilities))
        seconds.append({"trimap": middle - start, "solve": time.perf_counter() - middle})
    return {"photos": seconds[1:], "size": list(photo.shape[:2])}


def trained_stages(options: argparse.Namespace) -> list[Stage]:
    """The stages to train: the recipe's, or shorter ones of their own."""
    stages = stages_of(options.train)
    if options.iterations is None:
        return stages
    weights, short = NETS[options.train].initial_weights(), []
    for stage in stages:
        settings = scaled(stage.solver, options.iterations / stage.iterations)
        settings["snapshot"] = max(1, options.iterations // 4)
        name = f"gpu_{options.iterations}_{stage.prefix.name}"
        short.append(varied_stage(name, stage.solver, weights, settings, None, options.prepared))
        weights = short[-1].result
        if not short[-1].finished:
            run_stages(short[-1:])
    return short


def train(options: argparse.Namespace) -> dict:
    """Train, and leave losses, weights and the mattes of the test list."""
    stages = trained_stages(options)
    run_stages(stages)
    losses = [
        {
            name: {str(i): value for i, value in values.items()}
            for name, values in log.series.items()
        }
        for log in read_logs([stage.log for stage in stages])
    ]
    write_report(options.out / "losses.json", {"stages": losses})
    size = options.piece_megabytes * 2**20
    name = options.out / f"{options.train}.half.npz"
    pieces = write_in_pieces(name, half_weights(stages[-1].result), size)
    return {
        "iterations": [stage.iterations for stage in stages],
        "weights": [piece.name for piece in pieces],
        "mattes": write_mattes(options, stages[-1].result),
    }


def write_mattes(options: argparse.Namespace, weights: Path) -> int | str:
    """Write trimap and matte of every portrait of the test list; returns their number."""
    from tools.matting.predictor import Predictor
    from tools.matting.session import MattingSession

    model = model_of_net(options.train)
    shape_mask = MODELS[model].shape_mask
    if not shape_mask.is_file():
        shape_mask = options.prepared / "shape_mask.npz"
    session = MattingSession(Predictor(model, weights=weights, shape_mask=shape_mask))
    portraits = Dataset.open(options.dataset).test
    for portrait in portraits:
        photo, _ = load_portrait(portrait)
        matte = session.matte(photo)
        for kind, picture in (
            ("trimap", render_trimap(matte.probabilities)),
            ("matte", np.rint(255 * matte.alpha).astype(np.uint8)),
        ):
            write_image(options.out / kind / f"{portrait.stem}.png", picture)
    return len(portraits)


#: Name in the report, the step, and the options that its result depends on.
STEPS: tuple[tuple[str, Callable[[argparse.Namespace], dict], tuple[str, ...]], ...] = (
    ("weights", unpack_weights, ()),
    ("compare", compare_nets, ("compare", "prepared")),
    ("caffe_tests", caffe_tests, ()),
    ("time", time_nets, ("time", "passes", "prepared")),
    ("matting_layer", time_matting_layer, ()),
    ("photos", time_photos, ("model", "dataset")),
    ("train", train, ("train", "iterations", "prepared", "dataset", "piece_megabytes")),
)


def run_steps(options: argparse.Namespace) -> dict:
    """Run the steps that the report does not hold yet; returns the report.

    Whatever a step fails with is reported and the next one begins: the machine may be lent.
    """
    path = options.out / "report.json"
    report: dict = {"machine": describe_machine() | {"gpu": gpu_name()}, "steps": {}}
    if path.is_file():
        before = json.loads(path.read_text())
        if before["machine"]["gpu"] == report["machine"]["gpu"]:
            report = before
    for name, step, depends in STEPS:
        asked = {option: _plain(getattr(options, option)) for option in depends}
        known = report["steps"].get(name)
        if known and known["options"] == asked and known["result"].get("ok", True):
            print(f"{name}: done before", flush=True)
            continue
        if name == "train" and options.train is None:
            continue
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        try:
            result = step(options)
        except InputError as error:
            result = {"error": str(error), "ok": False}
        except Exception as error:
            trace = traceback.format_exc()
            said = f"{type(error).__name__}: {error}"
            result = {"error": said, "traceback": trace, "ok": False}
        seconds = time.perf_counter() - start
        report["steps"][name] = {"options": asked, "seconds": seconds, "result": result}
        write_report(path, report)
        print(f"{name}: {seconds:.1f} s, {json.dumps(result)[:400]}", flush=True)
    return report


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def gpu_name() -> str | None:
    """Name of the chosen GPU; None on the CPU."""
    if (gpu := chosen_gpu()) is None:
        return None
    environment = {k: v for k, v in os.environ.items() if k != "GLOG_minloglevel"}
    command = [caffe_program(), "device_query", "-gpu", str(gpu)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True).stderr
    name = re.search(r"Name: +(.+)", said)
    return name[1] if name else f"GPU {gpu}"


def given_path(text: str) -> Path:
    """A path of the command line, as it is named from the checkout where it lies in it.

    The report holds it, which is not to change with the folder that the program is run in.
    """
    return shown(Path(os.path.abspath(text)))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_gpu_option(parser)
    nets = list(RECIPES)
    add = parser.add_argument
    add("--compare", nargs="*", choices=nets, default=["lite"], help="nets to compare (lite)")
    add("--time", nargs="*", choices=nets, default=["lite"], help="nets to time (lite)")
    add("--passes", type=count, default=3, metavar="N", help="passes that are timed (%(default)s)")
    add("--model", choices=MODELS, default=DEFAULT_MODEL, help="that photos are timed with")
    add("--train", choices=nets, help="net to train (none)")
    add("--iterations", type=count, metavar="N", help="of each stage (the recipe's)")
    prepared = Path("data/prepared")
    add("--prepared", type=given_path, default=prepared, help="databases, but of a whole recipe")
    dataset = Path("data/sample")
    add("--dataset", type=given_path, default=dataset, help="whose test list is matted")
    add("--piece-megabytes", type=count, default=15, metavar="N", help="of the weights' pieces")
    out = Path("out/gpu")
    add("--out", type=given_path, default=out, help="folder of the results (%(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run all steps; returns 1 if one of them failed."""
    options = arguments().parse_args(argv)
    choose_gpu(options.gpu)
    os.chdir(ROOT)  # nets name their databases relative to the checkout
    options.out.mkdir(parents=True, exist_ok=True)
    report = run_steps(options)
    failed = [n for n, step in report["steps"].items() if not step["result"].get("ok", True)]
    print(f"{', '.join(failed)} failed." if failed else f"All is in {options.out.resolve()}.")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
