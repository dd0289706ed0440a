"""The record of a rendered set that is in git."""

import json

import pytest

from data_prep.common.errors import InputError
from data_prep.datasets.dataset import write_lists
from data_prep.datasets.manifest import DatasetManifest
from data_prep.datasets.rendered_record import (
    describe_set,
    differences,
    format_record,
    read_record,
)
from data_prep.set_record import main


def write_set(folder, train=("p00", "p00_b1"), test=("p01",), digest="0", seed=3):
    """Lists and manifest; nobody looks at pixels."""
    folder.mkdir(exist_ok=True)
    write_lists(folder, train, test)
    stems = [*train, *test]
    files = {
        stem: [f"images/{stem}.jpg", f"mattes/{stem}.png", f"meta/{stem}.json"] for stem in stems
    }
    DatasetManifest(
        origin={"format": "rendered", "seed": seed},
        files={name: digest for stem in stems for name in files[stem][:2]},
        portraits={
            stem: {"person": int(stem[1:3]), "files": dict.fromkeys(files[stem], digest)}
            for stem in stems
        },
    ).save(folder)
    return folder


def test_people_are_recorded_by_side_and_survive_the_file(tmp_path):
    record = describe_set(write_set(tmp_path / "set"))
    sides = {side: list(record[side]) for side in ("train", "test", "validation")}
    assert sides == {"train": ["p00"], "test": ["p01"], "validation": []}
    assert record["train"]["p00"]["photos"] == 2
    assert json.loads(format_record(record)) == record


def test_differences_name_the_person(tmp_path):
    record = describe_set(write_set(tmp_path / "a"))
    assert differences(record, record) == []
    other = describe_set(write_set(tmp_path / "b", digest="1"))
    assert differences(other, record) == [
        "train p00: other photos or mattes",
        "test p01: other photos or mattes",
    ]
    grown = describe_set(write_set(tmp_path / "c", test=("p01", "p02")))
    assert differences(grown, record) == ["test p02: not in the record"]
    assert differences(record, grown) == ["test p02: missing"]
    reseeded = describe_set(write_set(tmp_path / "d", seed=4))
    assert len(differences(reseeded, record)) == 1


def test_program_writes_then_compares(tmp_path, capsys):
    folder, record = write_set(tmp_path / "set"), tmp_path / "set.json"
    assert main([str(folder), str(record)]) == 0
    assert "is not written yet" in capsys.readouterr().out
    main([str(folder), str(record), "--write"])
    assert "1 people in 2 train photos, 1 people in 1 test photos" in capsys.readouterr().out
    main([str(folder), str(record)])
    assert "0 differences" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "3",
        "{}",
        '{"origin": {}, "train": {}}',
        '{"origin": {}, "train": [], "test": {}}',
    ],
)
def test_a_damaged_or_foreign_record_is_refused(tmp_path, content):
    folder, record = write_set(tmp_path / "set"), tmp_path / "set.json"
    record.write_text(content)
    with pytest.raises(InputError, match=r"set\.json is no record of a rendered set; take it"):
        main([str(folder), str(record)])


def test_a_record_of_no_utf_8_is_refused(tmp_path):
    (tmp_path / "set.json").write_bytes(b'{"origin": "\xff"}')
    with pytest.raises(InputError, match="is no record of a rendered set"):
        read_record(tmp_path / "set.json")


def test_a_list_that_names_what_the_manifest_lacks_is_refused(tmp_path):
    folder = write_set(tmp_path / "set")
    (folder / "train.txt").write_text("p00\nghost\n")
    with pytest.raises(InputError, match=r"train\.txt names ghost, which .*dataset\.json lacks"):
        describe_set(folder)


def test_an_unfinished_or_other_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no rendered set"):
        describe_set(tmp_path)
    (tmp_path / "unfinished.jsonl").touch()
    with pytest.raises(InputError, match="is not finished"):
        describe_set(tmp_path)
