from __future__ import annotations

import numpy as np
import pytest

from data_prep.dataset import Dataset, DatasetError, split_stems
from data_prep.dataset_manifest import DatasetManifest
from data_prep.dataset_manifest import main as manifest_main
from data_prep.errors import InputError
from data_prep.images import write_image


def add(folder, stem, photo=(8, 6), matte=(8, 6), suffix=".jpg"):
    if photo:
        write_image(folder / "images" / f"{stem}{suffix}", np.zeros((*photo, 3), np.uint8))
    if matte:
        write_image(folder / "mattes" / f"{stem}.png", np.zeros(matte, np.uint8))


@pytest.fixture
def folder(tmp_path):
    for stem in "abcd":
        add(tmp_path, stem)
    (tmp_path / "train.txt").write_text("a\nb\n\n")
    (tmp_path / "test.txt").write_text("c\n")
    return tmp_path


def test_lists_are_followed(folder):
    dataset = Dataset.open(folder)
    assert [p.stem for p in dataset.train] == ["a", "b"]
    assert [p.stem for p in dataset.test] == ["c"]
    assert dataset.test[0].matte == folder / "mattes" / "c.png"
    dataset.check_pixels(size=(6, 8))


def test_a_validation_list_takes_portraits_that_are_on_no_other(folder):
    assert Dataset.open(folder).validation == []
    (folder / "validation.txt").write_text("d\n")
    dataset = Dataset.open(folder)
    assert [p.stem for p in dataset.validation] == ["d"]
    assert [p.stem for p in dataset.portraits] == ["a", "b", "c"]
    (folder / "validation.txt").write_text("d\nc\n")
    with pytest.raises(DatasetError, match="c is already in test.txt"):
        Dataset.open(folder)


def test_all_problems_of_pairing_are_listed(folder):
    (folder / "train.txt").write_text("a\nb\nb\nnobody\n")
    (folder / "test.txt").write_text("a\nc\nd\n")
    (folder / "mattes" / "c.png").unlink()
    add(folder, "d", suffix=".png")
    with pytest.raises(DatasetError) as caught:
        Dataset.open(folder)
    found = [(p.file.name, p.reason) for p in caught.value.problems]
    assert sorted(found) == [
        ("c.png", "the matte is missing"),
        ("d.jpg", "d.jpg and d.png share one stem"),
        ("nobody", "the photo is missing"),
        ("nobody.png", "the matte is missing"),
        ("test.txt", "a is already in train.txt"),
        ("train.txt", "b is already in train.txt"),
    ]
    for name, reason in found:
        assert f"{name}: {reason}" in str(caught.value)


def test_all_problems_of_pixels_are_listed(folder):
    add(folder, "a", matte=(6, 8))
    (folder / "images" / "b.jpg").write_text("no photo")
    (folder / "mattes" / "b.png").write_text("no matte")
    add(folder, "c", photo=(9, 9), matte=(9, 9))
    with pytest.raises(DatasetError) as caught:
        Dataset.open(folder).check_pixels(size=(6, 8))
    reasons = {p.file.name: p.reason for p in caught.value.problems}
    assert set(reasons) == {"a.png", "b.jpg", "b.png", "c.jpg"}
    assert "8x6 pixels, its photo 6x8" in reasons["a.png"]
    assert "9x9 pixels; crop it and its matte to 6x8" in reasons["c.jpg"]


def test_empty_list_is_a_problem(folder):
    (folder / "test.txt").write_text("\n")
    with pytest.raises(DatasetError, match="test.txt: the list is empty"):
        Dataset.open(folder)


def test_one_list_alone_is_refused(folder):
    (folder / "test.txt").unlink()
    with pytest.raises(InputError, match="train.txt only"):
        Dataset.open(folder)


def test_without_lists_every_pair_is_used_once(folder):
    (folder / "train.txt").unlink()
    (folder / "test.txt").unlink()
    dataset = Dataset.open(folder, seed=3)
    assert sorted(p.stem for p in dataset.portraits) == list("abcd")
    assert (len(dataset.train), len(dataset.test)) == (3, 1)
    assert dataset == Dataset.open(folder, seed=3)
    add(folder, "lonely", matte=None)
    with pytest.raises(DatasetError, match="lonely.png: the matte is missing"):
        Dataset.open(folder)


def test_split_has_the_papers_proportion():
    stems = [f"p{i}" for i in range(2000)]
    train, test = split_stems(stems, seed=1)
    assert (len(train), len(test)) == (1700, 300)
    assert sorted(train + test) == sorted(stems)
    assert split_stems(stems[::-1], seed=1) == (train, test)
    assert split_stems(stems, seed=2) != (train, test)


def test_no_dataset_at_all(tmp_path):
    with pytest.raises(InputError, match="images does not exist"):
        Dataset.open(tmp_path)


def test_unchanged_files_pass_the_manifest_and_a_changed_one_is_named(folder):
    assert manifest_main([str(folder)]) == 0
    assert set(DatasetManifest.load(folder).files) == {
        f"{part}/{stem}.{suffix}"
        for part, suffix in (("images", "jpg"), ("mattes", "png"))
        for stem in "abcd"
    }
    dataset = Dataset.open(folder)
    matte = dataset.train[1].matte
    write_image(matte, np.full((8, 6), 9, np.uint8))
    with pytest.raises(DatasetError) as caught:
        Dataset.open(folder)
    (problem,) = caught.value.problems
    assert problem.file == matte and "dataset_manifest" in problem.reason
    # A file on no list does not matter, and neither do the lists.
    (folder / "train.txt").write_text("a\n")
    assert [p.stem for p in Dataset.open(folder).train] == ["a"]
    # The remedy that the sentence names.
    (folder / "train.txt").write_text("a\nb\n")
    manifest_main([str(folder)])
    assert Dataset.open(folder) == dataset


def test_new_checksums_keep_the_rest_of_the_manifest(folder):
    DatasetManifest(origin={"format": "plain"}, choices={"a": "knn"}).save(folder)
    manifest_main([str(folder)])
    manifest = DatasetManifest.load(folder)
    assert manifest.origin == {"format": "plain"} and manifest.choices == {"a": "knn"}
    assert len(manifest.files) == 8


@pytest.mark.parametrize("content", ["", "[]", "{", '{"files": 3}', '{"colour": {}}'])
def test_file_that_is_no_manifest_is_named_and_can_be_replaced(folder, content):
    (folder / "dataset.json").write_text(content)
    with pytest.raises(InputError, match="dataset.json is no dataset manifest"):
        Dataset.open(folder)
    manifest_main([str(folder)])
    assert len(Dataset.open(folder).train) == 2


def test_unfinished_import_is_no_dataset(folder):
    (folder / "unfinished.jsonl").touch()
    with pytest.raises(InputError, match="not finished; run the command"):
        Dataset.open(folder)
