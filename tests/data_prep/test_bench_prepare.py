from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from checkout import ROOT

from data_prep import bench_prepare
from data_prep.bench_prepare import (
    PLOT,
    Run,
    extrapolate,
    is_image_work,
    main,
    print_profile,
    timed_command,
)
from data_prep.common.errors import InputError
from data_prep.common.landmarks import LandmarkDetector
from data_prep.datasets.dataset import Dataset

SAMPLE = ROOT / "data/sample"


def test_figures_are_those_of_the_measured_seconds(capsys, monkeypatch):
    """`prepare` runs as for a user; the clock is replaced."""

    def command_of_known_seconds(folder, out, workers):
        timed_command(folder, out, workers)
        single = len(Dataset.open(folder).train) == 1
        return 2.0 if single else {1: 10.0, 2: 6.0}[workers]

    monkeypatch.setattr(bench_prepare, "timed_command", command_of_known_seconds)
    arguments = ["--dataset", str(SAMPLE), "--records", "20", "--workers", "2", "--full", "2613"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^OpenCV, dlib and image coding: [\d.]+% of [\d.]+ s$", printed, re.MULTILINE)
    rows = re.findall(r"(\d workers?: .*) and ([\d.]+) GB", printed)
    # The first 13 and 200 times what 13 further ones took.
    assert [row[0] for row in rows] == [
        "1 worker: 13 training records in 2.0 s, 26 in 10.0 s; 2,613 would take 26.7 minutes",
        "2 workers: 13 training records in 2.0 s, 26 in 6.0 s; 2,613 would take 13.4 minutes",
    ]
    # 100 kB to 1 MB a record, with and without workers the same.
    assert rows[0][1] == rows[1][1] and 0.2 < float(rows[0][1]) < 2.6
    assert "2 workers are 1.67 times as fast as 1 with 26 records, 2.00 times with" in printed


def test_the_share_of_image_work_is_that_of_a_profile_without_the_plot(capsys):
    seconds = {  # own, and with those that are called
        ("~", 0, "{imencode}"): (3.0, 3.0),
        ("/x/products.py", 5, "prepare"): (1.0, 6.0),
        ("/x/alpha_distribution.py", 9, PLOT): (0.5, 2.0),
        ("/x/figure.py", 7, "savefig"): (1.5, 1.5),
    }
    stats = {function: (1, 1, *both, {}) for function, both in seconds.items()}
    print_profile(SimpleNamespace(create_stats=lambda: None, stats=stats))
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "OpenCV, dlib and image coding: 75.0% of 4.0 s"
    assert lines[0] == "   75.0% * {imencode}"
    assert [line.split()[1] == "*" for line in lines] == [True, False, False, False]


def test_further_records_take_what_the_measured_ones_took():
    small, large = Run(10, 3.0), Run(110, 13.0)
    assert extrapolate(small, large, 110) == pytest.approx(13)
    assert extrapolate(small, large, 1010) == pytest.approx(103)


def test_a_run_that_fails_is_told(tmp_path):
    with pytest.raises(InputError, match="images does not exist"):
        timed_command(tmp_path, tmp_path / "out", workers=1)


def test_what_counts_as_image_work():
    assert is_image_work(("~", 0, "{imencode}"))
    assert is_image_work(("~", 0, "<method 'decode' of 'ImagingDecoder' objects>"))
    # By its real name: a call of dlib itself does not show in a profile.
    faces = LandmarkDetector._faces.__code__
    assert is_image_work((faces.co_filename, faces.co_firstlineno, faces.co_name))
    assert not is_image_work(("/x/data_prep/common/images.py", 28, "encode_image"))
    assert not is_image_work(("~", 0, "<method 'put' of 'Transaction' objects>"))
    assert not is_image_work(("~", 0, "<built-in method builtins.isinstance>"))
