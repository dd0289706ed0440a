"""Variants of a training: other settings, another net, other databases or weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep.caffe_data.sources import database_sources, with_versions
from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write, move_aside
from tools.matting.models import ROOT
from tools.training.stages import Stage, databases

logger = logging.getLogger(__name__)

#: Folder that holds one folder for each variant.
FOLDER = ROOT / "snapshots/variants"
#: Fields of a solver file that do not decide what is learned until an iteration: paths, and what
#: is saved, tested and shown on the way.
IRRELEVANT_FIELDS = (
    *("net", "weights", "snapshot_prefix", "snapshot"),
    *("test_iter", "test_interval", "test_initialization", "display", "average_loss"),
)


@dataclass(frozen=True)
class Dependencies:
    """Digests of everything that the result of a training depends on.

    Generated solver files begin with them, as comments.

    Attributes
    ----------
    solver : str
        All fields of the solver file that decide what is learned (`IRRELEVANT_FIELDS`).
    net : str
        The net definition, comments left out.
    weights : str
        The weights that the training starts from.
    databases : str or None
        The sources that the databases record inside them; None if the databases are
        missing or record nothing.
    """

    solver: str
    net: str
    weights: str
    databases: str | None

    @classmethod
    def of(
        cls, parameters: caffe_pb2.SolverParameter, net: Path, weights: Path, database: Path
    ) -> Dependencies:
        """Digests of the training of a net from these weights, on this database."""
        definition = text_format.Parse(net.read_text(), caffe_pb2.NetParameter())
        sources = database_sources(database)
        return cls(
            solver_digest(parameters),
            sha256(definition.SerializeToString(deterministic=True)).hexdigest(),
            sha256_of(weights),
            None if sources is None else content_key(with_versions(sources)),
        )

    def lines(self) -> str:
        """The digests as comment lines of a prototxt file."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return "".join(f"# {name} {value}\n" for name, value in known.items())


def solver_digest(parameters: caffe_pb2.SolverParameter) -> str:
    """Digest of the fields of a solver file that decide what is learned.

    Where the rate is fixed, the length is none of them: a longer training goes on from a
    shorter one.
    """
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(parameters)
    for field in (*IRRELEVANT_FIELDS, *(["max_iter"] if solver.lr_policy == "fixed" else [])):
        solver.ClearField(field)
    return sha256(solver.SerializeToString(deterministic=True)).hexdigest()


def initial_weights_digest(solver: Path) -> str | None:
    """Digest of the weights that a generated solver file's training began from, as it notes it."""
    noted = re.search(r"^# weights (\w+)$", solver.read_text(), flags=re.MULTILINE)
    return noted[1] if noted else None


def _header_before(solver: Path, weights: Path, net: Path, prepared: Path, own: bool) -> str:
    """Comments at the head of solver files that the code of commit 64d2747 generated."""
    lines = [f"{solver.name} with changes", f"weights {sha256_of(weights)}"]
    if (prepared / "manifest.json").is_file():
        lines.append(f"databases {sha256_of(prepared / 'manifest.json')}")
    if not own:
        lines.append(f"net {sha256_of(net)}")
    return "".join(f"# {line}\n" for line in lines)


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

    A variant keeps its snapshots and continues from them as long as its `Dependencies` are
    the same.  Otherwise it starts again, and a warning says where the earlier training is.

    Parameters
    ----------
    name : str
        Name of the variant's folder and snapshots.
    solver : Path
        The solver file that the variant is derived from.
    weights : Path
        The weights that it starts from.
    settings : mapping, optional
        Fields of SolverParameter that differ; lists for repeated fields.
    net : Path, optional
        A net definition in place of the solver file's.
    prepared : Path, optional
        A folder of databases in place of the net's.
    folder : Path
        Parent of the variant's folder.

    Raises
    ------
    InputError
        If the weights are missing, or a file cannot be written.
    """
    if not weights.is_file():
        raise InputError(f"{weights} does not exist, and {name} starts from it; train it first.")
    out = folder / name
    parameters = text_format.Parse(solver.read_text(), caffe_pb2.SolverParameter())
    for field, value in (settings or {}).items():
        if isinstance(value, list):
            getattr(parameters, field)[:] = value
        else:
            setattr(parameters, field, value)
    net = net or ROOT / parameters.net
    usual, own = databases(net)[0], prepared is not None
    prepared = prepared if own else ROOT / usual.parent
    depends = Dependencies.of(parameters, net, weights, prepared / usual.name)
    before = _header_before(solver, weights, net, prepared, own)
    files = {}
    if own:
        files["net.prototxt"] = net.read_text().replace(f"{usual.parent}/", f"{prepared}/")
        net = out / "net.prototxt"
    parameters.net = str(net)
    parameters.weights[:] = [str(weights)]
    parameters.snapshot_prefix = str(out / name)
    text = text_format.MessageToString(parameters)

    generated = out / "solver.prototxt"
    noted = generated.read_text() if generated.is_file() else ""
    header = None
    if not _is_longer(noted, parameters):
        header = _header_that_fits(_with_digest_of_today(noted), depends, before, text)
    if header is None and _holds_more(out, {*files, generated.name}):
        logger.warning(
            "%s depends on something that has changed; its earlier training is kept in %s.",
            name,
            move_aside(out),
        )
    files[generated.name] = (header or depends.lines()) + text
    for file, content in files.items():
        with atomic_write(out / file) as scratch:
            scratch.write_text(content)
    return Stage.read(generated)


def _parsed(solver: str) -> caffe_pb2.SolverParameter:
    return text_format.Parse(solver, caffe_pb2.SolverParameter())


def _is_longer(noted: str, parameters: caffe_pb2.SolverParameter) -> bool:
    """Whether the training of a generated solver file goes beyond the length that is wanted."""
    return _parsed(noted).max_iter > parameters.max_iter


def _with_digest_of_today(noted: str) -> str:
    """A generated solver file with the `solver_digest` of its own fields in its header.

    Digests of earlier code were of more fields.
    """
    digest = solver_digest(_parsed(noted))
    return re.sub(r"^# solver \w+$", f"# solver {digest}", noted, count=1, flags=re.MULTILINE)


def _header_that_fits(noted: str, depends: Dependencies, before: str, text: str) -> str | None:
    """Header for a generated solver file that belongs to the same training, else None.

    Missing databases count as unchanged, because nothing can be trained without them.  The
    file then keeps the header that it has.

    Parameters
    ----------
    noted : str
        The file's present content.
    depends : Dependencies
    before : str
        From `_header_before`.
    text : str
        The file's new content below its header.
    """
    known = depends.databases is not None

    def comparable(lines: str) -> str:
        return lines if known else re.sub(r"^# databases .*\n", "", lines, flags=re.MULTILINE)

    found = comparable(noted)
    if found.startswith(depends.lines()) or found == comparable(before + text):
        return depends.lines() if known else re.match(r"(#.*\n)*", noted)[0]
    return None


def _holds_more(folder: Path, generated: Set[str]) -> bool:
    """Whether a folder exists and holds more than the generated files."""
    return folder.is_dir() and any(path.name not in generated for path in folder.iterdir())


def scaled(solver: Path, scale: float) -> dict[str, int]:
    """Settings that shorten a training: iterations, steps of the rate, snapshots, tests."""
    parameters = text_format.Parse(solver.read_text(), caffe_pb2.SolverParameter())
    fields = [
        f for f in ("max_iter", "snapshot", "test_interval", "stepsize") if parameters.HasField(f)
    ]
    return {field: max(1, round(scale * getattr(parameters, field))) for field in fields}
