"""The narrow nets as a family of Table 1, on databases of one portrait."""

from __future__ import annotations

import shutil
from pathlib import Path

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep.prepare import main as prepare
from tools.matting.models import ROOT
from tools.table.runs import Family

SAMPLE = ROOT / "data/sample"
LITE = {
    "plain": "lite_nomask",
    "masked": "lite",
    "deeplab": "lite_deeplab",
    "portraitfcn": "lite_portraitfcn",
    "crfrnn": "lite_crfrnn",
}


def small_dataset(folder: Path, number: int = 0) -> Path:
    """One training portrait of the sample, by its number, one validation and one test portrait."""
    train, test = ((SAMPLE / f"{name}.txt").read_text().split() for name in ("train", "test"))
    for name, stem in (("train", train[number]), ("validation", train[-1]), ("test", test[0])):
        (folder / f"{name}.txt").write_text(stem + "\n")
        for kind, suffix in (("images", "jpg"), ("mattes", "png")):
            (folder / kind).mkdir(exist_ok=True)
            shutil.copy(SAMPLE / kind / f"{stem}.{suffix}", folder / kind)
    return folder


def prepared_databases(dataset: Path) -> Path:
    """Databases of a dataset: 13 training records of one portrait."""
    out = dataset / "prepared"
    assert prepare(["--dataset", str(dataset), "--out", str(out)]) == 0
    return out


def _with_fixed_rate(path: Path, source: str) -> Path:
    solver = text_format.Parse((ROOT / "solver" / source).read_text(), caffe_pb2.SolverParameter())
    solver.lr_policy, solver.display = "fixed", 1
    path.write_text(text_format.MessageToString(solver))
    return path


def lite_family(folder: Path, dataset: Path, prepared: Path) -> Family:
    """The narrow nets, in slices of two iterations; its files are in a folder."""
    return Family(
        nets=LITE,
        warm_solver=_with_fixed_rate(folder / "warm.prototxt", "lite_trimap_solver.prototxt"),
        solver=_with_fixed_rate(folder / "end.prototxt", "lite_matting_solver.prototxt"),
        folder=folder / "table",
        origin="nothing",
        weights=folder,
        prepared=prepared,
        model="lite",
        dataset=dataset,
        slice_iterations=2,
        snapshot_iterations=1,
    )
