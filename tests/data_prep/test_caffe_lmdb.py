from __future__ import annotations

import json
import os
import subprocess
import sys

import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from checkout import ROOT

from data_prep.caffe_data.caffe_lmdb import (
    RECORDS_PER_COMMIT,
    AlignedWriter,
    DatumWriter,
    copy_records,
    estimate_bytes,
    is_complete,
    scratch_path,
    shuffled_keys,
)
from data_prep.common.errors import InputError


def content(path):
    with lmdb.open(str(path), readonly=True, lock=False) as environment:
        with environment.begin() as transaction:
            return {
                key.decode(): caffe_pb2.Datum.FromString(value)
                for key, value in transaction.cursor()
            }


def run(program, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


SOURCE = {"source": "a test"}


def write(path, records, built_from=SOURCE):
    with DatumWriter(path, built_from, len(records)) as writer:
        for key, encoded in records.items():
            writer.put(key, encoded)
        writer.finish()


def test_records_come_back_encoded(tmp_path):
    wanted = {key: f"image {key}".encode() for key in shuffled_keys(200, seed=0)}
    write(tmp_path / "db", wanted)
    found = content(tmp_path / "db")
    assert {key: datum.data for key, datum in found.items()} == wanted
    assert all(datum.encoded for datum in found.values())
    assert [path.name for path in tmp_path.iterdir()] == ["db"]
    manifest = json.loads((tmp_path / "db" / "manifest.json").read_text())
    assert manifest["built_from"] == SOURCE and manifest["records"] == 200


def test_keys_are_a_seeded_order_of_equal_length():
    keys = shuffled_keys(1000, seed=4)
    assert sorted(keys) == [f"{i:08d}" for i in range(1000)] != keys
    assert keys == shuffled_keys(1000, seed=4) != shuffled_keys(1000, seed=5)


def test_complete_means_same_sources_and_same_file(tmp_path):
    path = tmp_path / "db"
    assert not is_complete(path, SOURCE)
    write(path, {"0": b"image"})
    assert is_complete(path, SOURCE) and not is_complete(path, {"source": "another"})
    with open(path / "data.mdb", "r+b") as stream:
        stream.truncate(4096)
    assert not is_complete(path, SOURCE)


def test_failure_inside_keeps_the_old_database(tmp_path):
    write(tmp_path / "db", {"0": b"old"}, {"source": "old"})
    with pytest.raises(ZeroDivisionError), DatumWriter(tmp_path / "db", SOURCE, 1) as writer:
        writer.put("0", b"new")
        1 / 0  # noqa: B018
    assert content(tmp_path / "db")["0"].data == b"old"
    write(tmp_path / "db", {"0": b"new"})
    assert content(tmp_path / "db")["0"].data == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_empty_database_is_refused(tmp_path):
    with pytest.raises(InputError, match="would be empty"):
        AlignedWriter([tmp_path / "db"], SOURCE, [])
    assert not list(tmp_path.iterdir())


def test_the_announced_number_of_records_is_needed(tmp_path):
    with pytest.raises(ValueError, match="1 records"):
        with DatumWriter(tmp_path / "db", SOURCE, 2) as writer:
            writer.put("0", b"image")
            writer.finish()
    assert not (tmp_path / "db").exists()


def test_full_disk_is_one_sentence_and_no_database(tmp_path):
    """A file size limit makes write() fail as a full disk does."""
    program = (
        "import resource\n"
        "from pathlib import Path\n"
        "from data_prep.caffe_data.caffe_lmdb import AlignedWriter\n"
        "from data_prep.common.errors import run_program\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, BYTES))\n"
        "def program():\n"
        "    keys = [str(i) for i in range(100, 200)]\n"
        "    with AlignedWriter([Path('db')], {'source': 'a test'}, keys) as writer:\n"
        "        for i in range(writer.stored, len(keys)):\n"
        "            writer.put([bytes(50000)])\n"
        "raise SystemExit(run_program(program))\n"
    )
    for limit in (200_000, 3_000_000):  # fails in the first commit; in a later one
        ended = run(program.replace("BYTES", str(limit)), tmp_path)
        assert ended.returncode == 1
        assert "db could not be written" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "db").exists()
    ended = run(program.replace("BYTES", str(100_000_000)), tmp_path)  # room was made
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["db"]
    assert len(content(tmp_path / "db")) == 100


def put_images(writer, keys, paths):
    for i in range(writer.stored, len(keys)):
        writer.put([f"{path.name} {keys[i]}".encode() for path in paths])


@pytest.mark.parametrize("uneven", [False, True])
def test_killed_write_is_continued_behind_what_all_databases_hold(tmp_path, uneven):
    paths = [tmp_path / name for name in ("one", "two", "three")]
    keys = shuffled_keys(100, seed=3)
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from data_prep.caffe_data.caffe_lmdb import AlignedWriter, shuffled_keys\n"
        "keys = shuffled_keys(100, seed=3)\n"
        "paths = [Path(name) for name in ('one', 'two', 'three')]\n"
        "with AlignedWriter(paths, {'source': 'a test'}, keys) as writer:\n"
        "    for key in keys[:70]:\n"
        "        writer.put([f'{path.name} {key}'.encode() for path in paths])\n"
        f"    if {uneven}: writer._writers[0].commit()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert run(program, tmp_path).returncode == -9
    assert not any(path.exists() for path in paths)
    with AlignedWriter(paths, SOURCE, keys) as writer:
        assert writer.stored == 70 - 70 % RECORDS_PER_COMMIT > 0
        put_images(writer, keys, paths)
    for path in paths:
        found = {key: datum.data.decode() for key, datum in content(path).items()}
        assert found == {key: f"{path.name} {key}" for key in keys}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]


def test_unfinished_database_of_other_sources_is_thrown_away(tmp_path):
    path, keys = tmp_path / "db", shuffled_keys(50, seed=0)
    with pytest.raises(ZeroDivisionError):
        with AlignedWriter([path], {"source": "old"}, keys) as writer:
            for _ in keys[:40]:
                writer.put([b"old"])
            1 / 0  # noqa: B018
    with AlignedWriter([path], SOURCE, keys) as writer:
        assert writer.stored == 0
        put_images(writer, keys, [path])
    assert {datum.data for datum in content(path).values()} == {
        f"db {key}".encode() for key in keys
    }


def test_a_copy_that_was_killed_before_its_end_is_begun_anew(tmp_path):
    """It got all of its records, and not its name; the next one is shorter."""
    source, target = tmp_path / "source", tmp_path / "target"
    write(source, {f"{rank:08d}": b"image %d" % rank for rank in range(5)})
    copy_records(source, target, 0, 4)
    target.rename(scratch_path(target))
    copy_records(source, target, 0, 2)
    copied = {key: datum.data for key, datum in content(target).items()}
    assert copied == {"00000000": b"image 0", "00000001": b"image 1"}
    assert not scratch_path(target).exists()


def test_one_database_of_three_is_made_again(tmp_path):
    paths = [tmp_path / name for name in ("one", "two")]
    keys = shuffled_keys(5, seed=0)
    for _ in range(2):
        with AlignedWriter(paths, SOURCE, keys) as writer:
            put_images(writer, keys, paths)
        kept = (paths[0] / "data.mdb").stat().st_mtime_ns
        assert content(paths[1]).keys() == set(keys)
        (paths[1] / "data.mdb").unlink()
    with AlignedWriter(paths, SOURCE, keys) as writer:
        put_images(writer, keys, paths)
    assert (paths[0] / "data.mdb").stat().st_mtime_ns == kept
    assert content(paths[1]).keys() == set(keys)


def test_estimated_size(tmp_path):
    rng = np.random.default_rng(0)
    records = {key: rng.bytes(rng.integers(2_000, 90_000)) for key in shuffled_keys(300, 0)}
    write(tmp_path / "db", records)
    estimate = estimate_bytes(list(records.values())[:100], len(records))
    assert estimate == pytest.approx((tmp_path / "db" / "data.mdb").stat().st_size, rel=0.1)
