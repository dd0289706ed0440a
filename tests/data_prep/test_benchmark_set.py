"""The open test split: what is written is the test side of the recorded set, and checked."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_prep.benchmark_set import main
from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.images import read_matte, read_photo, write_image
from data_prep.datasets.dataset import Dataset, DatasetError, write_lists
from data_prep.datasets.manifest import DatasetManifest
from data_prep.datasets.rendered_contents import read_contents
from data_prep.datasets.rendered_record import describe_set, format_record


@pytest.fixture
def rendered(tmp_path):
    """A set of a training and a test person, with its record beside it."""
    folder = tmp_path / "set"
    stems, portraits, files = ["a", "b", "b_b1"], {}, {}
    for person, stem in enumerate(stems):
        ramp = np.linspace(0, 255, 24, dtype=np.uint8)
        photo = np.full((32, 24, 3), 60 * person, np.uint8) + ramp[None, :, None] // 4
        write_image(folder / "images" / f"{stem}.jpg", photo)
        write_image(folder / "mattes" / f"{stem}.png", np.tile(ramp, (32, 1)))
        names = [f"images/{stem}.jpg", f"mattes/{stem}.png"]
        files |= {name: sha256_of(folder / name) for name in names}
        record = {"person": min(person, 1), "variant": int("_b" in stem)}
        portraits[stem] = {**record, "files": {name: files[name] for name in names}}
        choice = {"hand": None, "accessories": {}, "background": {"seed": person}, "hair": {}}
        (folder / "meta").mkdir(exist_ok=True)
        (folder / f"meta/{stem}.json").write_text(json.dumps({"choice": choice}))
    write_lists(folder, ["a"], ["b", "b_b1"])
    DatasetManifest({"format": "rendered"}, files, portraits).save(folder)
    (tmp_path / "set.json").write_text(format_record(describe_set(folder)))
    return folder


def test_the_split_is_the_test_side_with_the_mattes_to_the_bit(rendered, tmp_path):
    assert main([str(rendered), str(tmp_path / "out")]) == 0
    dataset = Dataset.open(tmp_path / "out", test_only=True)
    assert [portrait.stem for portrait in dataset.test] == ["b", "b_b1"] and not dataset.train
    for portrait in dataset.test:
        source = read_matte(rendered / "mattes" / f"{portrait.stem}.png")
        assert np.array_equal(read_matte(portrait.matte), source)
        photo = read_photo(rendered / "images" / f"{portrait.stem}.jpg").astype(int)
        assert np.abs(read_photo(portrait.photo) - photo).mean() < 2
    people = json.loads((tmp_path / "out/dataset.json").read_text())["portraits"]
    assert people == {stem: {"person": 1, "variant": int("_b" in stem)} for stem in ("b", "b_b1")}


def test_what_the_photos_show_comes_along(rendered, tmp_path):
    main([str(rendered), str(tmp_path / "out")])
    contents = read_contents(tmp_path / "out", ["b", "b_b1", "unknown"])
    kept = {"hand": None, "accessories": {}}
    assert contents == {
        "b": {**kept, "background": {"seed": 1}},
        "b_b1": {**kept, "background": {"seed": 2}},
    }


def test_who_wants_to_train_on_it_is_told_that_a_list_is_missing(rendered, tmp_path):
    main([str(rendered), str(tmp_path / "out")])
    with pytest.raises(InputError, match=r"test\.txt only"):
        Dataset.open(tmp_path / "out")


def test_a_photo_that_has_changed_since_is_refused(rendered, tmp_path):
    main([str(rendered), str(tmp_path / "out")])
    write_image(tmp_path / "out/images/b.jpg", np.zeros((32, 24, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"images/b\.jpg"):
        Dataset.open(tmp_path / "out", test_only=True)


def test_another_set_than_the_recorded_one_is_refused(rendered, tmp_path):
    record = tmp_path / "set.json"
    kept = json.loads(record.read_text())
    kept["test"]["b"]["sha256"] = "0" * 64
    record.write_text(json.dumps(kept))
    with pytest.raises(InputError, match="test b: other photos or mattes; render it"):
        main([str(rendered), str(tmp_path / "out")])
    assert not Path(tmp_path / "out").exists()


def test_a_damaged_record_is_refused(rendered, tmp_path):
    (tmp_path / "set.json").write_text('{"origin": {}}')
    with pytest.raises(InputError, match=r"set\.json is no record of a rendered set"):
        main([str(rendered), str(tmp_path / "out")])


def test_a_set_without_a_record_is_refused(rendered, tmp_path):
    (tmp_path / "set.json").unlink()
    with pytest.raises(InputError, match=r"set\.json does not exist; name the record"):
        main([str(rendered), str(tmp_path / "out")])
