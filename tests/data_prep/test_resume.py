"""Runs that were killed: what the next one takes over."""

import pytest

from data_prep.common.errors import InputError
from data_prep.datasets.manifest import JOURNAL
from data_prep.datasets.resume import Journal, Outcome, known_records, run_resumable


def test_a_run_killed_before_its_first_record_goes_on(tmp_path):
    """It leaves an empty journal and half a file, and no manifest."""

    def killed(task):
        (tmp_path / "images").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_resumable(killed, ["a"], Journal(tmp_path), (), 1, "test")
    assert known_records(tmp_path, None, "no set of ours") == {}
    records, _, new = run_resumable(
        lambda task: Outcome({"stem": task}, new=True), ["a"], Journal(tmp_path), (), 1, "test"
    )
    assert (records, new) == ([{"stem": "a"}], 1)
    assert known_records(tmp_path, None, "no set of ours") == {"a": {"stem": "a"}}


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match="is not empty and no set of ours; choose another --out"):
        known_records(tmp_path, None, "no set of ours")


def test_a_record_behind_half_a_line_is_not_lost(tmp_path):
    journal = Journal(tmp_path)
    journal.append({"stem": "a"})
    with (tmp_path / JOURNAL).open("a") as stream:
        stream.write('{"stem": "b')
    for stem in "cd":
        journal.append({"stem": stem})
    assert [record["stem"] for record in journal.read()] == ["a", "c", "d"]
