"""What the documents promise: every command in them can be run, the cheap ones are.

Commands stand in indented and in untagged code blocks; other text in a code block has a
tag (```python is run, ```prototxt is read, ```text is left alone).  Commands inside a
sentence (`make test`) are looked at, too.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from checkout import ROOT, clean_environment, scratch_checkout
from dask_cluster import running_cluster
from google.protobuf import text_format
from onnx_file import net_that_sees

from caffe_layers.layer_support import parse_parameters
from data_prep.caffe_data.caffe_lmdb import open_database
from data_prep.common.assets import fetch
from data_prep.common.images import read_photo
from tools.benchmarks.server import Process, running_server
from tools.training.stages import is_whole

#: All that are part of the repository, or about to be.
LISTED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=ROOT,
    capture_output=True,
    text=True,
)
if LISTED.returncode:
    pytest.skip("not a Git checkout", allow_module_level=True)
DOCUMENTS = [ROOT / name for name in LISTED.stdout.splitlines()]
COMMAND_TAGS = {"", "sh", "bash", "console"}
OTHER_TAGS = {"python", "prototxt", "text", "bibtex"}
#: Where another program of the same name says the same: the studio's environment is optional.
INSTEAD = {f".venv-{name}/bin/python": ".venv/bin/python" for name in ("render", "peers")}
MAKE_ENVIRONMENT = [  # as it is: these tests are no place to build it
    option
    for stamp in ("system", "python", "caffe-mkl", "caffe-open", "extension")
    for option in ("-o", f".venv/stamps/{stamp}")
]


@dataclass(frozen=True)
class Block:
    """A code block of a document; `tag` is empty where there is none."""

    document: Path
    tag: str
    text: str


def split_document(path: Path) -> tuple[list[Block], str]:
    """Code blocks of a document, and the text around them."""
    blocks: list[Block] = []
    prose: list[str] = []
    lines = iter(path.read_text().splitlines())
    before = ""
    for line in lines:
        if line.startswith("```"):
            inside = list(iter(lambda: next(lines), "```"))
            blocks.append(Block(path, line[3:].strip(), "\n".join(inside)))
        elif line.startswith("    ") and not before.strip():
            inside = []
            while line.startswith("    ") or not line.strip():
                inside.append(line[4:])
                line = next(lines, "end")
            blocks.append(Block(path, "", "\n".join(inside).strip()))
            prose.append(line)
        else:
            prose.append(line)
        before = line
    return blocks, "\n".join(prose)


@dataclass(frozen=True)
class Command:
    """A command as a document has it."""

    document: str
    text: str

    @property
    def words(self) -> list[str]:
        """Program and arguments, without redirections."""
        words = shlex.split(self.text)
        return words[: next((i for i, word in enumerate(words) if word in "<>|"), len(words))]

    @property
    def program(self) -> tuple[str, ...]:
        """The words that name the program: one, or an interpreter, -m and a module."""
        return tuple(self.words[: 3 if self.words[1:2] == ["-m"] else 1])

    @property
    def arguments(self) -> list[str]:
        """The words that follow the program."""
        return self.words[len(self.program) :]

    def __str__(self) -> str:
        return f"{self.document}: {self.text}"


def commands_of(block: Block) -> list[Command]:
    """The commands of a block, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    name = str(block.document.relative_to(ROOT))
    # A comment begins with a number sign between spaces.
    bare = [re.sub(r"\s+#\s.*", "", line) for line in joined.splitlines()]
    return [Command(name, line) for line in bare if line.strip()]


def mentions_of(prose: str, document: Path) -> list[Command]:
    """Commands inside sentences: what begins with make or a path, between backquotes."""
    name = str(document.relative_to(ROOT))
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]
    return [
        Command(name, span)
        for span in spans
        if re.match(r"make( [\w-]|$)|tools/\w+\.\w+|\.venv\S*/bin/|python3? ", span)
    ]


BLOCKS = [block for document in DOCUMENTS for block in split_document(document)[0]]
COMMANDS = [c for block in BLOCKS if block.tag in COMMAND_TAGS for c in commands_of(block)]
MENTIONS = [m for path in DOCUMENTS for m in mentions_of(split_document(path)[1], path)]


# --- programs and their options ---------------------------------------------------


@cache
def help_of(program: tuple[str, ...], *subcommand: str) -> tuple[int, str]:
    """Exit status and what a program prints when it is asked for --help."""
    command = [INSTEAD.get(program[0], program[0]), *program[1:], *subcommand, "--help"]
    result = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True
    )
    return result.returncode, result.stdout + result.stderr


def is_ours(command: Command) -> bool:
    """Whether a command runs a program of this project, or Caffe."""
    return "/" in command.program[0]


@pytest.fixture(scope="module", autouse=True)
def helps() -> None:
    """Ask all programs at once: each loads for a second or two."""
    mentioned = [mention for mention in MENTIONS if mention.arguments]
    programs = {command.program for command in [*COMMANDS, *mentioned] if is_ours(command)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(help_of, sorted(programs)))


def assert_answers(command: Command) -> None:
    """A program exists, is executable, answers --help and has the options of a command."""
    assert INSTEAD.get(command.program[0]) or os.access(ROOT / command.program[0], os.X_OK)
    status, printed = help_of(command.program)
    # The flags library of Caffe ends with 1 after the help that was asked for.
    assert status == (1 if command.program[0].endswith("/caffe") else 0), printed
    options = {a.split("=")[0] for a in command.arguments if re.match("--?[a-zA-Z]", a)}
    if unknown := {o for o in options if not re.search(rf"(?<![\w-]){o}\b", printed)}:
        subcommands = ",".join(re.findall(r"\{([\w,-]+)\}", printed)).split(",")
        subcommands += re.findall(r"^  ([\w-]+)", printed, re.MULTILINE)  # as Dask lists them
        assert command.arguments[0] in subcommands, unknown
        printed = help_of(command.program, command.arguments[0])[1]
        assert all(re.search(rf"(?<![\w-]){option}\b", printed) for option in unknown), unknown


def assert_runnable(command: Command) -> None:
    """A command could be run: its program is there and knows its options."""
    if command.program == ("make",):
        result = subprocess.run(
            ["make", "-n", *command.arguments],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
    elif is_ours(command):
        assert_answers(command)
    elif command.program == (".",):  # the shell reads a file
        assert (ROOT / command.arguments[0]).is_file()
    else:
        assert shutil.which(command.program[0], path=clean_environment()["PATH"])


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS), ids=str)
def test_every_command_in_a_code_block_can_be_run(command):
    assert_runnable(command)


@pytest.mark.parametrize("command", dict.fromkeys(MENTIONS), ids=str)
def test_every_command_in_a_sentence_is_there(command):
    if len(command.words) > 1 or command.text == "make":
        assert_runnable(command)
    else:  # the name of a file
        assert (ROOT / command.text).is_file()


@pytest.mark.parametrize(
    "text",
    [
        "tools/absent.py photo.jpg",
        "tools/matte.py photo.jpg --no-such-option",
        "make absent",
        ".venv/bin/python -m tools.absent",
        ".venv/bin/absent",
        "surely-absent",
        ".venv/bin/python -m tools.experiments.ablation run base --no-such-option",
        ". .venv/bin/absent",
    ],
)
def test_a_command_that_cannot_be_run_fails(text):
    with pytest.raises((AssertionError, OSError)):
        assert_runnable(Command("a document", text))


def test_code_blocks_have_tags_that_say_what_they_are():
    assert {block.tag for block in BLOCKS} <= COMMAND_TAGS | OTHER_TAGS


def test_the_first_screen_of_the_readme_has_the_commands_that_come_first():
    first = [command.text for command in COMMANDS if command.document == "README.md"]
    assert first[:2] == ["make", "make test"]
    assert ".venv/bin/caffe train -solver solver/matting_solver.prototxt" in first[:8]
    assert "tools/test_net.py" in first[:8] and "make data" in first[:8]


# --- cheap commands, run for real ---------------------------------------------------


@pytest.fixture
def desk(tmp_path) -> Path:
    """A folder with the files that the documents' commands name."""
    for name in ("tools", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    astronaut = read_photo(fetch("astronaut"))
    shutil.copy(fetch("astronaut"), tmp_path / "photo.png")
    cv2.imwrite(str(tmp_path / "photo.jpg"), astronaut)
    shape = np.zeros(astronaut.shape[:2], np.uint8)
    cv2.ellipse(shape, (220, 330), (150, 260), 0, 0, 360, 255, cv2.FILLED)
    cv2.imwrite(str(tmp_path / "cutout.png"), np.dstack([astronaut, shape]))
    beach = np.full((300, 400, 3), (230, 200, 120), np.uint8)
    beach[180:] = (150, 210, 230)
    cv2.imwrite(str(tmp_path / "beach.jpg"), beach)
    (tmp_path / "photos").mkdir()
    for number in range(2):
        cropped = astronaut[: 400 - 50 * number, 40:440]
        cv2.imwrite(str(tmp_path / f"photos/{number}.jpg"), cropped)
    cv2.imwrite(str(tmp_path / "matte.png"), shape)
    (tmp_path / "mattes").mkdir()
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"mattes/{number}.png"), shape[: 400 - 50 * number, 40:440])
    for name in ("u2net", "isnet"):
        net_that_sees(shape, tmp_path / f"{name}.onnx")
    return tmp_path


def files_in(folder: Path) -> dict[Path, int]:
    """Files in the folder and when they were written, without links and hidden files."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.startswith(".")
        and not any(p.is_symlink() for p in (path, *path.parents))
    }


def run_for_pictures(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does; it ends well and writes pictures, and nothing else."""
    before = files_in(folder)
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    written = [path for path, at in files_in(folder).items() if before.get(path) != at]
    assert written
    for path in written:
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None, path
    return result


def tagged(tag: str) -> list[Block]:
    """The code blocks with a tag."""
    return [block for block in BLOCKS if block.tag == tag]


def of_program(name: str) -> list[Command]:
    """The commands of a program, each once."""
    return [c for c in dict.fromkeys(COMMANDS) if c.program == (name,)]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory) -> Iterator[str]:
    """Address of a Dask scheduler with one worker."""
    with running_cluster(tmp_path_factory.mktemp("cluster"), 1) as (address, _):
        yield address


@pytest.mark.parametrize("command", of_program("tools/matte.py"), ids=str)
def test_mattes_are_made_as_documented(command, desk, request):
    text = command.text
    if "--cluster" in command.words:
        assert "tcp://scheduler:8786" in text
        text = text.replace("tcp://scheduler:8786", request.getfixturevalue("scheduler"))
    result = run_for_pictures(text, desk)
    if "--json" in command.words:
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert len(lines) == len(list((desk / "photos").iterdir()))


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with running_server("--workers", "1") as process:
        yield process


@pytest.mark.parametrize("command", of_program("curl"), ids=str)
def test_the_server_answers_as_documented(command, desk, server):
    assert "localhost:8000" in command.text
    here = command.text.replace("localhost:8000", f"localhost:{server.port}")
    run_for_pictures(here.replace("curl ", "curl --fail --silent --show-error ", 1), desk)


@pytest.mark.parametrize("block", tagged("python"), ids=lambda block: block.document.name)
def test_the_python_example_runs(block, desk):
    run_for_pictures(shlex.join([sys.executable, "-c", block.text]), desk)


@pytest.mark.parametrize("block", tagged("prototxt"), ids=lambda block: block.document.name)
def test_the_layers_to_copy_are_read_by_caffe(block):
    net = text_format.Parse(block.text, caffe_pb2.NetParameter())
    assert net.layer
    for layer in net.layer:
        module = importlib.import_module(layer.python_param.module)
        assert hasattr(module, layer.python_param.layer)
        parse_parameters(module.NAME, layer.python_param.param_str, module.PARAMETERS)


# --- the three commands of the design card --------------------------------------------


@pytest.fixture(scope="module")
def card_checkout(tmp_path_factory) -> Path:
    """A checkout as `make` leaves one, with datasets of few portraits, and databases."""
    folder = scratch_checkout(tmp_path_factory.mktemp("checkout"), portraits=2)
    (folder / "snapshots").mkdir()
    result = subprocess.run(
        ["make", *MAKE_ENVIRONMENT, "data"],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_make_data_writes_databases(card_checkout):
    for split, records in (("train", 2 * 13), ("test", 2)):
        for part in ("image", "mask", "matte"):
            path = card_checkout / f"data/prepared/{split}_{part}"
            with open_database(path) as database:
                assert database.stat()["entries"] == records


def test_caffe_trains_the_papers_net_and_keeps_a_snapshot_when_interrupted(card_checkout):
    """The command as it stands in the README, from a shell where nothing is activated."""
    (command,) = (c for c in of_program(".venv/bin/caffe") if c.arguments[0] == "train")
    caffe = subprocess.Popen(
        command.words,
        cwd=card_checkout,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    log = []
    try:
        for line in caffe.stderr:
            log.append(line)
            if "] Iteration 0, lr" in line:  # the first iteration; Caffe prints every 20th
                caffe.send_signal(signal.SIGINT)
        assert caffe.wait() == 0, "".join(log[-40:])
    finally:
        caffe.kill()
        caffe.stderr.close()
    # Caffe looks for a signal between two iterations: which ones is a matter of speed.
    (state,) = (card_checkout / "snapshots").glob("fcn8s_iter_*.solverstate")
    assert is_whole(state) and re.fullmatch(r"fcn8s_iter_[1-9]\d*\.solverstate", state.name)
    assert state.with_suffix(".caffemodel").stat().st_size > 500e6
    for path in state.parent.iterdir():  # a gigabyte
        path.unlink()


def test_the_test_program_prints_its_table(card_checkout):
    command = next(c for c in of_program("tools/test_net.py") if not c.arguments)
    result = subprocess.run(
        [*command.words, "--dataset", "data/benchmark"],  # without it, that of the whole checkout
        cwd=card_checkout,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    stems = (card_checkout / "data/benchmark/test.txt").read_text().split()
    assert len(stems) == 2
    assert all(re.search(rf"^{stem} +[\d.]+ ", result.stdout, re.MULTILINE) for stem in stems)
    assert (card_checkout / "out/test_ensemble/errors.csv").is_file()
