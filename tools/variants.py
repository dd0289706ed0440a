"""Trainings that differ from a solver file in a few settings, net, data or start."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep.assets import sha256_of
from data_prep.errors import InputError
from data_prep.images import atomic_write
from tools.models import ROOT
from tools.stages import Stage, databases

#: Every variant has a folder of its own here.
FOLDER = ROOT / "snapshots/variants"


def varied_stage(
    name: str,
    solver: Path,
    weights: Path,
    settings: Mapping[str, object] | None = None,
    net: Path | None = None,
    prepared: Path | None = None,
    folder: Path = FOLDER,
) -> Stage:
    """Write the solver file of a variant and, with other databases, its net.

    A variant that is written again as it was keeps its snapshots and goes on; if
    anything has changed that it depends on, it begins anew.

    Parameters
    ----------
    name : str
        Of its folder and snapshots.
    solver : Path
        What it differs from.
    weights : Path
        What it starts from.
    settings : mapping, optional
        Fields of SolverParameter that differ; repeated ones are lists.
    net : Path, optional
        Another net definition.
    prepared : Path, optional
        Another folder of databases.
    folder : Path

    Raises
    ------
    InputError
        If the weights are missing.
    """
    if not weights.is_file():
        raise InputError(f"{weights} does not exist, and {name} starts from it; train it first.")
    out = folder / name
    parameters = text_format.Parse(solver.read_text(), caffe_pb2.SolverParameter())
    net = net or ROOT / parameters.net
    files = {}
    if prepared is not None:
        usual = databases(net)[0].parent
        files["net.prototxt"] = net.read_text().replace(f"{usual}/", f"{prepared}/")
        net = out / "net.prototxt"
    else:
        prepared = ROOT / databases(net)[0].parent
    for field, value in (settings or {}).items():
        if isinstance(value, list):
            getattr(parameters, field)[:] = value
        else:
            setattr(parameters, field, value)
    parameters.net = str(net)
    parameters.weights[:] = [str(weights)]
    parameters.snapshot_prefix = str(out / name)
    depends = [f"{solver.name} with changes", f"weights {sha256_of(weights)}"]
    manifest = prepared / "manifest.json"
    if manifest.is_file():
        depends.append(f"databases {sha256_of(manifest)}")
    if "net.prototxt" not in files:
        depends.append(f"net {sha256_of(net)}")
    header = "".join(f"# {line}\n" for line in depends)
    files["solver.prototxt"] = header + text_format.MessageToString(parameters)
    if any(not (out / f).is_file() or (out / f).read_text() != t for f, t in files.items()):
        shutil.rmtree(out, ignore_errors=True)
        for file, text in files.items():
            with atomic_write(out / file) as scratch:
                scratch.write_text(text)
    return Stage.read(out / "solver.prototxt")


def scaled(solver: Path, scale: float) -> dict[str, int]:
    """Settings that shorten a training: iterations, steps of the rate, snapshots, tests."""
    parameters = text_format.Parse(solver.read_text(), caffe_pb2.SolverParameter())
    fields = [f for f in ("max_iter", "snapshot", "test_interval", "stepsize") if parameters.HasField(f)]
    return {field: max(1, round(scale * getattr(parameters, field))) for field in fields}
