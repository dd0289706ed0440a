"""Folders on several processes: what they share, and a Dask cluster that loses a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from dask_cluster import running_cluster

from data_prep.common.errors import InputError
from data_prep.common.images import read_photo, write_image
from data_prep.datasets.dataset import Dataset
from tools import matte
from tools.matting.models import ROOT
from tools.outputs import journal
from tools.outputs.batch import DONE, SKIPPED, plan, process, run_jobs
from tools.outputs.rendering import LoadedRequest, Request

COUNT = 10
REQUEST = Request(kinds=("alpha", "cutout"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder of small portraits, one of them in a folder of its own."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    for number, portrait in enumerate(Dataset.open(ROOT / "data/sample").portraits[:COUNT]):
        small = cv2.resize(read_photo(portrait.photo), (120, 160), interpolation=cv2.INTER_AREA)
        place = folder / "more" if number == 3 else folder
        write_image(place / f"{number}.png", small)
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")
    }


def ran(photos: Path, out: Path, workers: int = 1, scheduler: str | None = None, stop=None):
    """Results of matting a folder; `stop` is called once, half-way."""
    results = []
    jobs = plan([str(photos)], out, REQUEST).jobs
    for result in run_jobs(jobs, REQUEST, out, workers, overwrite=False, scheduler=scheduler):
        results.append(result)
        if stop is not None and len(results) == COUNT // 2:
            stop()
    return results


@pytest.fixture(scope="module")
def expected(photos, tmp_path_factory) -> dict[str, bytes]:
    """Files of a run in this process."""
    out = tmp_path_factory.mktemp("expected")
    assert [result.status for result in ran(photos, out)] == [DONE] * COUNT
    return content_of(out)


@pytest.mark.parametrize("fault", range(3))
def test_outputs_are_written_in_their_order_up_to_one_that_cannot_be(photos, tmp_path, fault):
    request = Request(kinds=("alpha", "cutout", "sheet"))
    job = plan([str(photos / "0.png")], tmp_path, request).jobs[0]
    written = []

    def write(kind: str, content: bytes, /) -> None:
        if len(written) == fault:
            raise InputError(f"{kind} cannot be written.")
        assert content.startswith(b"\x89PNG")
        written.append(kind)

    with pytest.raises(InputError, match=f"{request.kinds[fault]} cannot be written."):
        process(job, LoadedRequest(request), request, write)
    assert written == list(request.kinds[:fault])


@pytest.fixture
def cluster(tmp_path_factory) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Address of a scheduler, and its two workers."""
    with running_cluster(tmp_path_factory.mktemp("cluster"), 2) as found:
        yield found


def test_a_cluster_that_loses_a_worker_writes_every_file_as_without_it(
    photos, expected, cluster, tmp_path, monkeypatch
):
    """Nobody starts the killed worker again: the other one does its photos."""
    scheduler, (killed, other) = cluster
    monkeypatch.chdir(photos.parent)  # paths are relative to a folder that is not the workers'
    out = Path(os.path.relpath(tmp_path))
    results = ran(Path(photos.name), out, scheduler=scheduler, stop=killed.kill)
    assert killed.wait() == -signal.SIGKILL and other.poll() is None
    assert [result.status for result in results] == [DONE] * COUNT
    assert all(Path(file).is_file() for result in results for file in result.files.values())
    assert content_of(tmp_path) == expected
    assert journal.read_entries(tmp_path).keys() == expected.keys()
    assert {result.status for result in ran(photos, tmp_path)} == {SKIPPED}


def test_a_photo_that_fails_on_a_cluster_is_a_result_there_too(cluster, tmp_path, capsys):
    scheduler, _ = cluster
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/bad.png").write_bytes(b"no picture")
    folders = [str(tmp_path / "photos"), "-o", str(tmp_path / "out")]
    assert matte.main([*folders, "--cluster", scheduler]) == 1
    assert "bad.png is not a readable image" in capsys.readouterr().err


def test_workers_share_the_processors(photos, expected, tmp_path):
    assert [result.status for result in ran(photos, tmp_path, workers=2)] == [DONE] * COUNT
    assert content_of(tmp_path) == expected


def test_a_cluster_that_does_not_answer_is_one_sentence(photos, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"scheduler tcp://127\.0\.0\.1:9 does not answer"):
        matte.main([str(photos), "-o", str(tmp_path), "--cluster", "tcp://127.0.0.1:9"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--workers", "2"], "not allowed with argument"),
        (["--gpu", "0"], "PORTRAIT_MATTING_GPU=0"),
    ],
)
def test_options_that_a_cluster_excludes(photos, capsys, options, sentence):
    with pytest.raises(SystemExit):
        matte.main([str(photos), "--cluster", "tcp://127.0.0.1:9", *options])
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "passive 1000"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
        ({"GOMP_SPINCOUNT": "0"}, "passive 0"),
    ],
)
def test_threads_soon_sleep_while_they_wait_unless_the_user_wants_otherwise(given, found):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: text for name, text in os.environ.items() if name not in names}
    program = f"import tools, os; print(*map(os.environ.get, {names}))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment | given,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == found
