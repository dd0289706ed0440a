from __future__ import annotations

import re

import pytest
from checkout import ROOT

from data_prep.bench_prepare import Run, extrapolate, is_image_work, main, timed_command
from data_prep.common.errors import InputError
from data_prep.common.landmarks import LandmarkDetector

SAMPLE = ROOT / "data/sample"


def test_figures_are_printed_and_agree(capsys):
    arguments = ["--dataset", str(SAMPLE), "--records", "20", "--workers", "2", "--full", "2600"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    share = float(re.search(r"image coding: ([\d.]+)%", printed)[1])
    assert 10 < share < 100
    assert re.search(r"\* \{imencode\}", printed)
    rows = re.findall(
        r"(\d) workers?: 13 training records in ([\d.]+) s, 26 in ([\d.]+) s; "
        r"2,600 would take (-?[\d.]+) minutes and ([\d.]+) GB",
        printed,
    )
    assert [row[0] for row in rows] == ["1", "2"]
    # 100 kB to 1 MB a record, with and without workers the same.
    assert rows[0][4] == rows[1][4] and 0.2 < float(rows[0][4]) < 2.6
    found = re.search(r"2 workers are ([\d.]+) times as fast as 1 with 26 records", printed)
    assert float(found[1]) == pytest.approx(float(rows[0][2]) / float(rows[1][2]), abs=0.05)


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
