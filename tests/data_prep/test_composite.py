"""Composites: exact mattes, nobody ends in the air, a run goes on, sides stay apart."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.common.assets import AssetError
from data_prep.common.errors import InputError
from data_prep.common.images import read_matte, read_photo, write_image
from data_prep.composite import main
from data_prep.composites import photographs
from data_prep.composites.background import (
    DRAWINGS,
    BackgroundChoice,
    drawn_over,
    make_background,
    out_of_focus,
    piece_of,
)
from data_prep.composites.composition import (
    CompositionChoice,
    Placement,
    compose,
    occluder_coverage,
    placed,
)
from data_prep.datasets.dataset import Dataset

SHAPE = (160, 120)
PLAIN = BackgroundChoice(0, (0.0, 0.0), 1.0, False, 0.0, 1.0, 1.0, 1.0, "", 0)
HERE = Placement(1.0, 0.0, 0.0, False, 1.0)
SIMPLE = CompositionChoice(PLAIN, (HERE,), None, 0, (1.0, 1.0, 1.0), False)


def noise(shape, seed=0):
    """(rows, columns, 3) uint8 blobs."""
    picture = np.random.default_rng(seed).normal(size=(*shape, 3))
    smooth = cv2.GaussianBlur(picture, (0, 0), 3)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def person(shape=SHAPE, x=0.5, seed=1):
    """A rendered person: an egg that stands on the lower border, with a soft rim."""
    rows, columns = np.ogrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    distance = np.sqrt(((columns - x) / 0.3) ** 2 + ((rows - 1) / 0.7) ** 2)
    matte = np.rint(255 * np.clip(6 * (1.08 - distance), 0, 1)).astype(np.uint8)
    return np.dstack([noise(shape, seed), matte])


def test_at_its_own_place_a_person_is_composited_as_the_equation_says():
    foreground, photograph = person(), noise(SHAPE, 2)
    photo, matte = compose([foreground], [photograph], SIMPLE, SHAPE)
    alpha = foreground[..., 3:] / 255
    expected = alpha * foreground[..., :3] + (1 - alpha) * photograph
    assert np.abs(photo - expected).max() <= 0.51
    assert np.array_equal(matte, foreground[..., 3])


def test_a_smaller_person_is_the_same_person_reduced():
    foreground = person()
    layer = placed(foreground, replace(HERE, scale=0.5, across=0.3 / 0.7 * 0.5), SHAPE)
    size = (SHAPE[1] // 2, SHAPE[0] // 2)
    reduced = cv2.resize(foreground[..., 3], size, interpolation=cv2.INTER_AREA)
    assert layer[: SHAPE[0] // 2, :, 3].max() == 0
    assert layer[..., 3].sum() == pytest.approx(reduced.sum(), rel=0.02)


@pytest.mark.parametrize("across", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [0.4, 1.2])
def test_who_is_cut_off_at_a_side_stays_at_that_side(across, mirrored, scale):
    foreground = person(x=0.05)  # cut off at the left
    layer = placed(foreground, Placement(scale, across, 0.0, mirrored, 1.0), SHAPE)
    edge = layer[:, -1 if mirrored else 0, 3]
    assert (edge[-10:] > 200).all()


def test_nobody_ends_above_the_lower_border():
    rng = np.random.default_rng(0)
    for _ in range(60):
        choice = CompositionChoice.draw(rng, 2)
        pictures = [noise(SHAPE, 3)] * 2
        people = [person()] * len(choice.placements)
        _, matte = compose(people, pictures, choice, SHAPE)
        ends = [SHAPE[0] * (1 + each.sunk) for each in choice.placements]
        # Below where somebody's frame ends there is nothing of anybody but behind an occluder.
        if min(ends) < SHAPE[0]:
            assert choice.occluder is not None
            assert matte[int(min(ends)) + 1 :].max() == 0


def test_what_hides_a_person_is_taken_out_of_the_matte():
    coverage = occluder_coverage(SHAPE, 100.0, 4)
    choice = replace(SIMPLE, placements=(replace(HERE, sunk=-0.375),), occluder=PLAIN)
    choice = replace(choice, occluder_seed=4)
    thing = np.full((*SHAPE, 3), 200, np.uint8)
    photo, matte = compose([person()], [noise(SHAPE, 2), thing], choice, SHAPE)
    assert coverage[:85].max() == 0 and coverage[105:].min() == 1
    assert (photo[105:] == 200).all() and (matte[105:] == 0).all()


def test_two_people_are_one_matte():
    first, second = person(x=0.3), person(x=0.7, seed=5)
    choice = replace(SIMPLE, placements=(HERE, HERE))
    _, matte = compose([first, second], [noise(SHAPE)], choice, SHAPE)
    clear = (1 - first[..., 3] / 255) * (1 - second[..., 3] / 255)
    assert np.abs(matte - 255 * (1 - clear)).max() <= 0.51


def test_a_gray_photo_has_equal_channels():
    photo, _ = compose([person()], [noise(SHAPE)], replace(SIMPLE, gray=True), SHAPE)
    assert (photo == photo[..., :1]).all()


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_every_drawing_leaves_sharp_edges(drawing):
    picture = np.full((*SHAPE, 3), 128, np.uint8)
    drawn = drawn_over(picture, drawing, np.random.default_rng(3)).astype(int)
    steps = np.abs(np.diff(drawn, axis=0)).max(), np.abs(np.diff(drawn, axis=1)).max()
    assert max(steps) > 15


def test_half_of_the_backgrounds_are_in_focus():
    rng = np.random.default_rng(0)
    blurs = [BackgroundChoice.draw(rng, 9).blur for _ in range(400)]
    assert 150 < sum(blur == 0 for blur in blurs) < 250


def test_out_of_focus_is_the_mean_over_a_disk():
    point = np.zeros((41, 41), np.float32)
    point[20, 20] = 1
    rows, columns = np.mgrid[-20:21, -20:21]
    spread = out_of_focus(point, 6.0)
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(spread[np.hypot(rows, columns) > 7]).max() < 1e-9
    assert np.ptp(spread[np.hypot(rows, columns) < 5]) < 1e-6


def test_a_piece_keeps_the_aspect_of_the_photograph():
    ramp = np.zeros((300, 500, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(300)[:, None] * 0.8, np.arange(500) * 0.5
    piece = piece_of(ramp, replace(PLAIN, extent=0.8, place=(0.5, 0.5)), SHAPE).astype(float)
    down, right = np.diff(piece[..., 0], axis=0).mean() / 0.8, np.diff(piece[..., 1]).mean() / 0.5
    right = np.diff(piece[..., 1], axis=1).mean() / 0.5
    assert down == pytest.approx(right, rel=0.02)
    assert down == pytest.approx(0.8 * 300 / SHAPE[0], rel=0.02)


def test_a_background_is_the_same_on_every_draw_of_a_choice():
    choice = replace(PLAIN, drawing="wall", seed=7, blur=0.01)
    twice = [make_background(noise((200, 200)), choice, SHAPE) for _ in range(2)]
    assert np.array_equal(*twice)


# --- the program ----------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A rendered set of four people and a folder of five photographs."""
    folder = tmp_path_factory.mktemp("set")
    source, pictures = folder / "set", folder / "pictures"
    stems = ["a", "a_b1", "b", "c", "d"]
    for number, stem in enumerate(stems):
        foreground = person((800, 600), seed=number)
        if "_b" not in stem:
            path = source / "foregrounds" / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), foreground)
        write_image(source / "images" / f"{stem}.jpg", foreground[..., :3].copy())
        write_image(source / "mattes" / f"{stem}.png", foreground[..., 3].copy())
    (source / "train.txt").write_text("a\na_b1\nb\n")
    (source / "test.txt").write_text("c\n")
    (source / "validation.txt").write_text("d\n")
    for number in range(5):
        # Each of a color of its own.
        color = np.eye(3)[number % 3] * (120 if number < 3 else 250)
        picture = np.rint(noise((600, 900), number) * 0.02 + color).astype(np.uint8)
        write_image(pictures / f"{number}.png", picture)
    return source, pictures


def arguments(folders, out):
    """What the program is given for three composites a person."""
    source, pictures = map(str, folders)
    given = [source, "--out", str(out), "--photographs", pictures]
    return [*given, "--per-person", "3", "--workers", "1"]


@pytest.fixture(scope="module")
def composites(folders, tmp_path_factory):
    """What the program makes of them."""
    out = tmp_path_factory.mktemp("out") / "composites"
    assert main(arguments(folders, out)) == 0
    return out


def test_composites_are_a_dataset_with_everybody_on_the_same_side(composites):
    dataset = Dataset.open(composites)
    sides = [dataset.train, dataset.test, dataset.validation]
    stems = [sorted(portrait.stem for portrait in side) for side in sides]
    versions = [f"_w{number}" for number in range(3)]
    assert stems[0] == sorted(["a", "a_b1", "b", *(p + v for p in "ab" for v in versions)])
    assert stems[1] == ["c", *("c" + v for v in versions)]
    assert stems[2] == ["d", *("d" + v for v in versions)]
    for portrait in dataset.train:
        photo, matte = read_photo(portrait.photo), read_matte(portrait.matte)
        assert photo.shape[:2] == matte.shape == (800, 600)
        assert matte.mean() >= 0.02 * 255


def test_photographs_of_test_people_are_not_trained_on(composites):
    records = json.loads((composites / "dataset.json").read_text())["portraits"]
    assert {r["choice"]["background"]["photograph"] for r in records.values()} <= set(range(4))
    for stem in ("c_w0", "d_w1"):  # one photograph is held out of five
        assert records[stem]["choice"]["background"]["photograph"] == 0


def test_the_photos_of_the_set_are_no_copies(composites, folders):
    for name in ("images/a_b1.jpg", "mattes/c.png"):
        assert (composites / name).samefile(folders[0] / name)


def test_nothing_is_made_twice_and_a_broken_file_is_made_again(composites, folders, capsys):
    paths = sorted((composites / "images").glob("*_w*"))
    paths[0].write_bytes(b"broken")
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert main(arguments(folders, composites)) == 0
    after = {path: path.stat().st_mtime_ns for path in paths}
    assert [path for path in paths if before[path] != after[path]] == paths[:1]
    assert read_photo(paths[0]).shape == (800, 600, 3)


def test_a_killed_run_goes_on_to_the_same_files(composites, folders, tmp_path):
    out = tmp_path / "composites"
    main(arguments(folders, out))
    (out / "dataset.json").rename(out / "kept.json")
    records = json.loads((out / "kept.json").read_text())["portraits"]
    (out / "kept.json").unlink()
    lines = [json.dumps({"stem": stem, **record}) for stem, record in records.items()][:5]
    (out / "unfinished.jsonl").write_text("\n".join(lines) + "\n")
    assert main(arguments(folders, out)) == 0
    for name in ("images/b_w2.jpg", "mattes/d_w1.png", "train.txt", "sheet.jpg"):
        assert (out / name).read_bytes() == (composites / name).read_bytes()


def test_a_set_without_foregrounds_is_refused(folders, tmp_path):
    plain = tmp_path / "plain"
    for part in ("images", "mattes"):
        (plain / part).mkdir(parents=True)
        for path in (folders[0] / part).iterdir():
            os.link(path, plain / part / path.name)
    for name in ("train.txt", "test.txt"):
        os.link(folders[0] / name, plain / name)
    with pytest.raises(InputError, match="foregrounds holds nobody"):
        main(arguments((plain, folders[1]), tmp_path / "out"))


def test_a_file_for_a_folder_is_refused(folders, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="out is a file, not a folder"):
        main(arguments(folders, tmp_path / "out"))


def test_a_damaged_photograph_is_named_and_the_rest_is_made(folders, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    shutil.copytree(folders[1], pictures)
    (pictures / "1.png").write_bytes(b"damaged")
    out = tmp_path / "out"
    assert main(arguments((folders[0], pictures), out)) == 1
    manifest = json.loads((out / "dataset.json").read_text())
    assert {each["file"] for each in manifest["rejected"]} == {str(pictures / "1.png")}
    assert manifest["portraits"] and f"see {out / 'sheet.jpg'}" in capsys.readouterr().out


def test_who_gets_no_composite_at_all_is_told_why(folders, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in "12":
        (pictures / f"{name}.png").write_bytes(b"damaged")
    assert main(arguments((folders[0], pictures), tmp_path / "out")) == 1
    printed = capsys.readouterr().out
    assert (
        "0 composites." in printed
        and f"{pictures / '1.png'}: it is not a readable image" in printed
    )


def test_one_photograph_is_too_few(folders, tmp_path):
    write_image(tmp_path / "one/1.png", noise((50, 50)))
    with pytest.raises(InputError, match="1 pictures; give two or more"):
        main(arguments((folders[0], tmp_path / "one"), tmp_path / "out"))


# --- the photographs ------------------------------------------------------------


def test_every_photograph_is_named_with_author_license_and_digest():
    listed = photographs.photographs()
    assert len({each.name for each in listed}) == len(listed) >= 40
    for each in listed:
        assert each.author and each.license and len(each.sha256) == 64
        assert Path(each.member).suffix in {".jpg", ".png"}


def test_a_machine_without_debian_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "cache_dir", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssetError, match="apt-get is not on this machine.*--photographs"):
        photographs.fetch_photographs()


def test_another_file_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    """With a package of that name that holds something else, made by Debian's own tool."""
    content = tmp_path / "package"
    (content / "DEBIAN").mkdir(parents=True)
    control = "Package: {}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y.z>\nDescription: x\n"
    package = photographs.photographs()[0].package
    (content / "DEBIAN/control").write_text(control.format(package))
    subprocess.run(["dpkg-deb", "--build", content, tmp_path / "it.deb"], check=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    script = f"#!{sys.executable}\nimport shutil; shutil.copy({str(tmp_path / 'it.deb')!r}, '.')\n"
    (programs / "apt-get").write_text(script)
    (programs / "apt-get").chmod(0o755)
    monkeypatch.setattr(photographs, "cache_dir", lambda: tmp_path)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(AssetError, match="does not hold the .* that this project was built for"):
        photographs.fetch_photographs()
    assert not list((tmp_path / "photographs").iterdir())
