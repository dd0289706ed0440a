"""Lists as users and other programs write them."""

from __future__ import annotations

import os
import unicodedata

import pytest

from data_prep.common.errors import InputError
from data_prep.datasets.lists import PortraitIndex, read_entries, read_lines, repetitions

STEMS = ("a", "b", "a b", "v1.5", "#1", "\u00e9t\u00e9")


@pytest.fixture
def index(tmp_path):
    for name in ("images", "mattes"):
        (tmp_path / name).mkdir()
    places = (tmp_path / "images", tmp_path / "mattes")
    return PortraitIndex(tmp_path, places, STEMS, "a portrait")


def stems_of(path, index):
    entries, problems = read_entries(path, index)
    assert not problems
    return [stem for _, stem in entries]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_encodings_and_line_ends(tmp_path, index, encoding, line_end):
    path = tmp_path / "train.txt"
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    path.write_bytes((mark + line_end.join(("a", "", "  \u00e9t\u00e9 ", "b"))).encode(encoding))
    assert stems_of(path, index) == ["a", "\u00e9t\u00e9", "b"]


@pytest.mark.parametrize(
    ("line", "stem"),
    [
        ("a", "a"),
        ("a.jpg", "a"),
        ("a.PNG", "a"),
        ("images/a.jpg", "a"),
        ("./images/a.jpg", "a"),
        ("mattes/a.png", "a"),
        ("images\\a.jpg", "a"),
        ("images/a", "a"),
        ("{folder}/images/a.jpg", "a"),
        ("a b", "a b"),
        ("images/a b.jpg", "a b"),
        ("v1.5", "v1.5"),
        ("v1.5.jpg", "v1.5"),
        ("images/a.jpg mattes/a.png", "a"),
        ("images/a b.jpg\tmattes/a b.png", "a b"),
        ("a.jpg, a.png", "a"),
        ("a   # a blurry one", "a"),
        ("#1", "#1"),
        (unicodedata.normalize("NFD", "\u00e9t\u00e9"), "\u00e9t\u00e9"),
        (unicodedata.normalize("NFD", "images/\u00e9t\u00e9.jpg"), "\u00e9t\u00e9"),
    ],
)
def test_forms_that_mean_one_portrait(tmp_path, index, line, stem):
    path = tmp_path / "train.txt"
    path.write_text(f"# mine\n{line.format(folder=tmp_path)}\n", encoding="utf-8")
    assert stems_of(path, index) == [stem]


def test_paths_from_the_current_folder_and_through_links(tmp_path, index, monkeypatch):
    path = tmp_path / "train.txt"
    monkeypatch.chdir(tmp_path.parent)
    path.write_text(f"{tmp_path.name}/images/a.jpg\n")
    assert stems_of(path, index) == ["a"]
    os.rename(tmp_path / "images", tmp_path / "elsewhere")
    (tmp_path / "images").symlink_to(tmp_path / "elsewhere")
    linked = PortraitIndex(tmp_path, [tmp_path / "images"], STEMS, "a portrait")
    path.write_text(f"{tmp_path}/elsewhere/a.jpg\n{tmp_path}/images/b.jpg\n")
    assert stems_of(path, linked) == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    ["nobody", "a b c", "other/a.jpg", "images/a.jpg mattes/b.png", "images/a.jpg 0", "A", "a.txt"],
)
def test_line_that_names_no_portrait_is_told_with_its_number(tmp_path, index, line):
    path = tmp_path / "train.txt"
    path.write_text(f"a\n\n{line}\n")
    entries, (problem,) = read_entries(path, index)
    assert [stem for _, stem in entries] == ["a"]
    assert problem.file == path
    assert problem.reason.startswith(f"line 3, '{line}', is not a portrait")


def test_an_empty_list_is_a_problem(tmp_path, index):
    path = tmp_path / "train.txt"
    path.write_text("\ufeff\n# nothing yet\n")
    entries, (problem,) = read_entries(path, index)
    assert entries == [] and "the list is empty" in problem.reason


def test_what_is_named_before_is_told_with_both_places(tmp_path, index):
    lists = {}
    for name, text in (("train", "a\nb\na.jpg\n"), ("test", "a b\nb\n")):
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        lists[path], _ = read_entries(path, index)
    assert [(each.file.name, each.reason.split(";")[0]) for each in repetitions(lists)] == [
        ("train.txt", "line 3 names a, which is already in train.txt, line 1"),
        ("test.txt", "line 2 names b, which is already in train.txt, line 2"),
    ]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("a\nb\n\u00e9t\u00e9\n".encode("latin-1"), r" \(line 3\)"),
        ("a\n".encode("utf-16-le"), ""),
        (b"\xff\xfea\0\n", r" \(line 1\)"),
    ],
)
def test_file_that_is_no_text_is_named(tmp_path, content, where):
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"train\.txt is not a text file in UTF-8{where}; save"):
        read_lines(path)
