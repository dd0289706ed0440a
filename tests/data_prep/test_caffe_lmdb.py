from __future__ import annotations

import os
import subprocess
import sys

import lmdb
import pytest
from caffe.proto import caffe_pb2

from data_prep.caffe_lmdb import DatumWriter, shuffled_keys
from data_prep.errors import InputError


def content(path):
    with lmdb.open(str(path), readonly=True, lock=False) as environment:
        with environment.begin() as transaction:
            return {
                key.decode(): caffe_pb2.Datum.FromString(value)
                for key, value in transaction.cursor()
            }


def run(program, folder):
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_records_come_back_encoded(tmp_path):
    wanted = {key: f"image {key}".encode() for key in shuffled_keys(200, seed=0)}
    with DatumWriter(tmp_path / "db") as writer:
        for key, encoded in wanted.items():
            writer.put(key, encoded)
    found = content(tmp_path / "db")
    assert {key: datum.data for key, datum in found.items()} == wanted
    assert all(datum.encoded for datum in found.values())
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_keys_are_a_seeded_order_of_equal_length():
    keys = shuffled_keys(1000, seed=4)
    assert sorted(keys) == [f"{i:08d}" for i in range(1000)] != keys
    assert keys == shuffled_keys(1000, seed=4) != shuffled_keys(1000, seed=5)


def test_failure_inside_keeps_the_old_database(tmp_path):
    with DatumWriter(tmp_path / "db") as writer:
        writer.put("0", b"old")
    with pytest.raises(ZeroDivisionError), DatumWriter(tmp_path / "db") as writer:
        writer.put("0", b"new")
        1 / 0  # noqa: B018
    assert content(tmp_path / "db")["0"].data == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_empty_database_is_refused(tmp_path):
    with pytest.raises(InputError, match="would be empty"), DatumWriter(tmp_path / "db"):
        pass
    assert not list(tmp_path.iterdir())


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    """A file size limit makes write() fail as a full disk does."""
    program = (
        "import resource\n"
        "from pathlib import Path\n"
        "from data_prep.caffe_lmdb import DatumWriter\n"
        "from data_prep.errors import run_program\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))\n"
        "def program():\n"
        "    with DatumWriter(Path('db')) as writer:\n"
        "        for i in range(COUNT):\n"
        "            writer.put(str(i), bytes(50000))\n"
        "raise SystemExit(run_program(program))\n"
    )
    for count in (10, 300):  # fails in the last commit; in one on the way
        ended = run(program.replace("COUNT", str(count)), tmp_path)
        assert ended.returncode == 1
        assert "db could not be written" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
        assert not list(tmp_path.iterdir())


def test_killed_write_leaves_no_database_and_the_next_one_succeeds(tmp_path):
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from data_prep.caffe_lmdb import DatumWriter\n"
        "with DatumWriter(Path('db')) as writer:\n"
        "    for i in range(100):\n"
        "        writer.put(str(i), bytes(5000))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert run(program, tmp_path).returncode == -9
    assert not (tmp_path / "db").exists()
    with DatumWriter(tmp_path / "db") as writer:
        writer.put("0", b"whole")
    assert set(content(tmp_path / "db")) == {"0"}
    assert [path.name for path in tmp_path.iterdir()] == ["db"]
