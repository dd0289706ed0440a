"""The program: sets, splits, resuming, further backgrounds, failures."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from checkout import ROOT

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.images import read_matte, read_photo
from data_prep.datasets.dataset import Dataset
from data_prep.datasets.manifest import JOURNAL
from data_prep.render.portrait_set import Settings, sides_of_people, split_people, with_hands
from data_prep.render.portraits import main
from data_prep.render.shot.photo import read_foreground, read_meta
from data_prep.render.shot.portrait import choose_portrait
from data_prep.render.shot.quality import Quality

# The smallest render that is still a portrait.
SMALL = ["--scale", "0.08", "--samples", "1", "--lens-positions", "8", "--per-person", "2"]


def digests(folder):
    """sha256 of every file by its path."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def program(out, *options):
    return [sys.executable, "-m", "data_prep.render.portraits", "--out", str(out), *SMALL, *options]


def records(people, photos):
    return [
        {"stem": f"p{person * photos + k:03d}", "person": person}
        for person in range(people)
        for k in range(photos)
    ]


def settings(seed=0, **split):
    return Settings(seed, 4, Quality(), ".jpg", 8, **split)


def test_people_are_on_one_side():
    train, test, validation = split_people(records(40, 4), settings()).values()
    assert not validation
    assert len(train) + len(test) == 160 and not set(train) & set(test)
    of = {record["stem"]: record["person"] for record in records(40, 4)}
    assert not {of[stem] for stem in train} & {of[stem] for stem in test}
    assert len(train) == 4 * 34  # 1700 of 2000


def test_the_split_follows_the_seed():
    splits = [split_people(records(40, 4), settings(seed)) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_with_a_fixed_rule_nobody_changes_sides_as_the_set_grows():
    rule = settings(test_every=5, validation_every=16)
    whole = split_people(records(320, 1), rule)
    assert {side: len(stems) for side, stems in whole.items()} == {
        "train": 240,
        "test": 60,
        "validation": 20,
    }
    assert len({stem for stems in whole.values() for stem in stems}) == 320
    for people in (5, 37, 299):
        part = split_people(records(people, 1), rule)
        for side, stems in whole.items():
            assert part[side] == [stem for stem in stems if int(stem[1:]) < people]
        assert part["train"] and part["test"]


def test_further_hands_are_beside_heads_of_training_people():
    rule = settings(test_every=5, validation_every=16)
    found = with_hands(rule, 40, 160)
    sides = sides_of_people([{"person": number // 4} for number in range(160)], rule)
    beside = [
        number
        for number in range(40, 160)
        if sides[number // 4] == "train"
        and (hand := choose_portrait(0, number, 4).hand)
        and hand.gesture not in ("chin", "collar")
    ]
    assert found == beside and found
    # A set that grows keeps them.
    assert [number for number in found if number >= 90] == with_hands(rule, 90, 160)


def test_the_split_is_no_part_of_a_picture():
    divided = settings(test_every=5, validation_every=16)
    assert settings().of_pictures() == divided.of_pictures()
    assert settings().of_pictures() != settings(seed=1).of_pictures()


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "Give --only K, or"),
        (["--count", "2", "--only", "1"], "Give --only K, or"),
        (["--count", "2", "--recomposite-test", "1"], "goes with --recomposite"),
        (["--recomposite", "1", "--hands-until", "9"], "--hands-until goes with --count"),
        (["--count", "2", "--hands-until", "9"], "--hands-until goes with --test-every"),
        (["--count", "4", "--scale", "9"], "--scale 9.0 is out of range"),
        (["--recomposite", "2"], "no finished rendered set"),
    ],
)
def test_options_are_checked(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        main(["--out", str(tmp_path / "set"), *options])


def test_other_peoples_files_are_left_alone(tmp_path):
    (tmp_path / "diary.txt").write_text("private")
    with pytest.raises(InputError, match="is not empty"):
        main(["--out", str(tmp_path), "--count", "2"])


# --- with Blender -----------------------------------------------------------------


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    out = tmp_path_factory.mktemp("studio") / "set"
    subprocess.run(program(out, "--count", "4"), cwd=ROOT, check=True)
    return out


@pytest.mark.render
def test_a_set_is_a_dataset(rendered):
    dataset = Dataset.open(rendered)
    dataset.check_pixels((64, 48))
    assert (len(dataset.train), len(dataset.test)) == (2, 2)
    assert (rendered / "sheet.jpg").is_file() and not (rendered / JOURNAL).exists()


@pytest.mark.render
def test_what_is_written_fits_together(rendered):
    for portrait in Dataset.open(rendered).portraits:
        matte = read_matte(portrait.matte)
        foreground = read_foreground(rendered / "foregrounds" / f"{portrait.stem}.png")
        np.testing.assert_array_equal(foreground.matte, matte)
        photo = read_photo(portrait.photo)[:, :, ::-1]
        inside = matte == 255
        assert 0.2 < inside.mean() < 0.9
        # Up to noise and JPEG, the foreground is what the photo shows.
        difference = photo[inside].astype(float) - foreground.colors[inside]
        assert np.abs(difference).mean() < 8
        meta = read_meta(rendered, portrait.stem)
        landmarks = np.array(meta["landmarks"])
        assert landmarks.shape == (68, 2)
        x, y = landmarks.mean(axis=0).round().astype(int)
        assert matte[y, x] == 255


@pytest.mark.render
def test_a_killed_run_goes_on_to_the_same_files(rendered, tmp_path):
    out = tmp_path / "set"
    run = subprocess.Popen(program(out, "--count", "4"), cwd=ROOT, start_new_session=True)
    while len(list(out.glob("meta/*.json"))) < 2 and run.poll() is None:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    with pytest.raises(InputError, match="not finished"):
        Dataset.open(out)
    subprocess.run(program(out, "--count", "4"), cwd=ROOT, check=True)
    assert digests(out) == digests(rendered)


@pytest.mark.render
def test_workers_change_no_file(rendered, tmp_path):
    subprocess.run(
        program(tmp_path / "set", "--count", "4", "--workers", "2"), cwd=ROOT, check=True
    )
    assert digests(tmp_path / "set") == digests(rendered)


@pytest.mark.render
def test_one_portrait_alone_is_the_same(rendered, tmp_path):
    run = subprocess.run(
        program(tmp_path / "one", "--only", "3"),
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert len(run.stdout.splitlines()) == 4
    alone, together = digests(tmp_path / "one"), digests(rendered)
    assert alone and all(together[name] == digest for name, digest in alone.items())


@pytest.mark.render
def test_further_backgrounds_and_a_larger_set(rendered, tmp_path):
    out = tmp_path / "set"
    shutil.copytree(rendered, out)
    subprocess.run(program(out, "--recomposite", "2"), cwd=ROOT, check=True)
    dataset = Dataset.open(out)
    assert (len(dataset.train), len(dataset.test)) == (6, 6)
    photos = {portrait.stem: read_photo(portrait.photo) for portrait in dataset.portraits}
    base = next(stem for stem in photos if "_b" not in stem)
    for variant in (1, 2):
        meta = json.loads((out / "meta" / f"{base}_b{variant}.json").read_text())
        assert meta["foreground"] == base
        matte = read_matte(out / "mattes" / f"{base}_b{variant}.png")
        np.testing.assert_array_equal(matte, read_matte(out / "mattes" / f"{base}.png"))
        change = np.abs(photos[base].astype(float) - photos[f"{base}_b{variant}"]).mean(axis=2)
        assert change[matte == 0].mean() > 2 * change[matte == 255].mean()
    # What is there stays when the set grows.
    before = digests(out / "images")
    subprocess.run(program(out, "--count", "5"), cwd=ROOT, check=True)
    after = digests(out / "images")
    assert len(after) == 13 and all(after[name] == digest for name, digest in before.items())


@pytest.mark.render
def test_one_command_makes_a_set_with_more_backgrounds_for_test_people(tmp_path):
    out = tmp_path / "set"
    options = ["--test-every", "2", "--validation-every", "3"]
    options += ["--recomposite", "1", "--recomposite-test", "2"]
    subprocess.run(
        program(out, "--count", "2", "--per-person", "1", *options), cwd=ROOT, check=True
    )
    dataset = Dataset.open(out)
    assert [p.stem for p in dataset.train] == ["p00_00000", "p00_00000_b1"]
    assert [p.stem for p in dataset.test] == ["p00_00001", "p00_00001_b1", "p00_00001_b2"]
    before = digests(out / "images")
    subprocess.run(
        program(out, "--count", "4", "--per-person", "1", *options), cwd=ROOT, check=True
    )
    after = digests(out / "images")
    assert len(after) == 10 and all(after[name] == digest for name, digest in before.items())
    validation = Dataset.open(out).validation
    assert [p.stem for p in validation] == ["p00_00002", "p00_00002_b1"]


@pytest.mark.render
def test_other_settings_are_refused(rendered):
    run = subprocess.run(
        program(rendered, "--count", "4", "--seed", "5"), cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "other settings" in run.stderr and "Traceback" not in run.stderr
