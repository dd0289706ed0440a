"""The study's table: errors that survive a kill, statistics, words."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from data_prep.common.errors import InputError
from data_prep.common.images import write_image
from data_prep.datasets.dataset import Portrait
from data_prep.datasets.rendered_contents import read_contents
from tools.evaluation.errors_cache import ErrorsFile, errors_of, method_key
from tools.evaluation.estimates import compare, estimate, estimates
from tools.evaluation.methods import MattingMethod, files_of, plain_band_matte
from tools.evaluation.metrics import MatteErrors, evaluate
from tools.experiments import study
from tools.matting.models import MODELS, ROOT

NAMES = MatteErrors.names()


def errors_like(values):
    """One measure decides all of them."""
    return {
        f"p{i:02d}": MatteErrors(*(value * (k + 1) for k in range(6)))
        for i, value in enumerate(values)
    }


@pytest.fixture
def portraits(tmp_path):
    generator = np.random.default_rng(0)
    found = []
    for i in range(5):
        portrait = Portrait(f"p{i:02d}", tmp_path / f"{i}.jpg", tmp_path / f"{i}.png")
        write_image(portrait.photo, generator.integers(0, 256, (24, 18, 3), np.uint8))
        matte = np.zeros((24, 18), np.uint8)
        matte[6:, 4:14] = 255
        matte[5] = 90  # with 128 it would be a trimap
        write_image(portrait.matte, matte)
        found.append(portrait)
    return found


def counted(calls, name="half", files=()):
    def load():
        def matte(photo, truth):
            calls.append(1)
            return np.full_like(truth, 0.5)

        return matte

    return MattingMethod(name, "half", load, files)


# --- statistics -------------------------------------------------------------------


def test_standard_errors_are_those_of_the_textbook():
    generator = np.random.default_rng(1)
    values = generator.normal(size=(12, 5)) + generator.normal(size=(12, 1))
    people = np.repeat(np.arange(12), 5)
    found = estimate(values.ravel(), people)
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(60))
    # With as many photos of everybody: the standard error of the people's means.
    assert found.by_person == pytest.approx(values.mean(axis=1).std(ddof=1) / np.sqrt(12))
    assert found.by_person > 1.3 * found.standard_error
    alone = estimate(values.ravel(), np.arange(60))
    assert alone.by_person == pytest.approx(alone.standard_error)


def test_one_image_or_one_person_has_no_standard_error():
    assert estimate([3.0], ["a"]).standard_error is None
    assert estimate([3.0, 4.0], ["a", "a"]).by_person is None


def test_a_comparison_is_of_pairs_on_common_images():
    first, second = errors_like([1, 2, 3]), errors_like([2, 2.5, 2, 9])
    found = compare(first, second, dict(zip(second, "abcd")))["dapm_gradient"]
    gaps = np.array([-1, -0.5, 1])
    assert found.difference.mean == pytest.approx(gaps.mean())
    assert found.difference.standard_error == pytest.approx(gaps.std(ddof=1) / np.sqrt(3))
    assert found.better == pytest.approx(2 / 3)


# --- what is kept -----------------------------------------------------------------


def test_nothing_is_measured_twice_and_changes_are(portraits, tmp_path):
    weights = tmp_path / "weights"
    weights.write_text("1")
    calls = []
    first = errors_of(counted(calls, files=(weights,)), portraits[:3], tmp_path / "out")
    assert len(calls) == 3
    whole = errors_of(counted(calls, files=(weights,)), portraits, tmp_path / "out")
    assert len(calls) == 5 and list(whole) == [p.stem for p in portraits]
    assert all(whole[stem] == errors for stem, errors in first.items())
    write_image(portraits[0].matte, np.eye(24, 18, dtype=np.uint8) * 255)
    errors_of(counted(calls, files=(weights,)), portraits, tmp_path / "out")
    assert len(calls) == 6
    weights.write_text("2")
    errors_of(counted(calls, files=(weights,)), portraits, tmp_path / "out")
    assert len(calls) == 11


def test_going_back_to_earlier_weights_measures_nothing_again(portraits, tmp_path):
    weights, calls = tmp_path / "weights", []
    for content in ("1", "2", "1"):
        weights.write_text(content)
        errors_of(counted(calls, files=(weights,)), portraits, tmp_path / "out")
    assert len(calls) == 10


def test_errors_go_by_all_that_they_depend_on(tmp_path, monkeypatch):
    """Files, how they are used, and the versions of what makes and measures mattes."""
    weights = tmp_path / "weights"
    weights.write_text("1")
    method = counted([], files=(weights,))
    keys = {method_key(method), method_key(replace(method, settings={"looks_again": True}))}
    weights.write_text("2")
    keys.add(method_key(method))
    for name, value in (("MATTES_VERSION", 99), ("METRICS_VERSION", 99), ("MEAN_BGR", (1, 2, 3))):
        monkeypatch.setattr(f"tools.evaluation.errors_cache.{name}", value)
        keys.add(method_key(method))
    assert len(keys) == 6


def test_half_a_line_does_not_spoil_the_file(tmp_path):
    errors = MatteErrors(*map(float, range(6)))
    stored = ErrorsFile(tmp_path / "a.jsonl")
    stored.add("p1", "key", errors)
    with open(tmp_path / "a.jsonl", "a") as stream:
        stream.write('{"stem": "p2", "k')
    again = ErrorsFile(tmp_path / "a.jsonl")
    assert again.get("p1", "key") == errors and again.get("p1", "other") is None
    again.add("p3", "key", errors)
    assert ErrorsFile(tmp_path / "a.jsonl").get("p3", "key") == errors


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from data_prep.datasets.dataset import Portrait
from data_prep.datasets.rendered_contents import read_contents
from tools.evaluation.methods import MattingMethod
from tools.evaluation.errors_cache import errors_of
def load():
    def matte(photo, truth):
        time.sleep(0.3)
        return np.full_like(truth, 0.5)
    return matte
folder = Path(sys.argv[1])
portraits = [Portrait(f"p{i:02d}", folder / f"{i}.jpg", folder / f"{i}.png") for i in range(5)]
errors_of(MattingMethod("half", "half", load), portraits, folder / "out")
"""


def test_a_killed_run_ends_with_the_errors_of_one_that_was_not(portraits, tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    run = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    stored = tmp_path / "out/half.jsonl"
    while run.poll() is None and not (stored.is_file() and stored.read_text().count("\n") >= 2):
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    known = stored.read_text().count("\n")
    calls = []
    resumed = errors_of(counted(calls), portraits, tmp_path / "out")
    assert 0 < len(calls) == 5 - known
    assert resumed == errors_of(counted([]), portraits, tmp_path / "fresh")


# --- methods ----------------------------------------------------------------------


def test_files_of_a_net_are_those_of_its_second_opinion_too():
    selfie, portrait = MODELS["selfie"], MODELS["portrait"]
    assert files_of("selfie") == (selfie.deploy, selfie.weights)
    assert files_of("portrait") == (
        portrait.deploy,
        portrait.weights,
        portrait.shape_mask,
        selfie.deploy,
        selfie.weights,
    )


def test_whether_a_shape_mask_counts_is_read_from_the_net(tmp_path):
    """Its name says nothing."""
    nomask, mask = tmp_path / "net.prototxt", tmp_path / "nomask.prototxt"
    shutil.copy(ROOT / "prototxt/fcn8s_half_nomask/trimap_deploy.prototxt", nomask)
    shutil.copy(ROOT / "prototxt/fcn8s_half/trimap_deploy.prototxt", mask)
    weights, shape_mask = tmp_path / "w", tmp_path / "m"
    assert files_of("fcn8s_half", weights, nomask, shape_mask) == (nomask, weights)
    assert files_of("fcn8s_half", weights, mask, shape_mask) == (mask, weights, shape_mask)


def test_the_plain_band_keeps_what_is_far_from_the_border():
    photo = np.zeros((60, 80, 3), np.uint8)
    photo[:, 40:] = 200
    mask = np.zeros((60, 80))
    mask[:, 43:] = 1  # off by three pixels
    alpha = plain_band_matte(photo, mask)
    truth = np.zeros((60, 80))
    truth[:, 40:] = 1
    assert np.abs(alpha - truth).max() < 0.02
    assert evaluate(alpha, truth).sad < 0.1 * evaluate(mask, truth).sad


def test_rows_without_weights_are_named_and_skipped(tmp_path, monkeypatch, capsys):
    present = MattingMethod("present", "p", lambda: None)
    absent = MattingMethod("absent", "a", lambda: None, (tmp_path / "absent.caffemodel",))
    monkeypatch.setattr(study, "study_methods", lambda: [present, absent])
    assert study.available_methods(None) == [present]
    assert "without absent" in capsys.readouterr().out
    with pytest.raises(InputError, match="absent lacks .*absent.caffemodel"):
        study.available_methods(["absent"])
    with pytest.raises(InputError, match="There is no row other"):
        study.available_methods(["other"])


# --- failures ---------------------------------------------------------------------


def test_the_worst_images_are_of_different_people():
    errors = errors_like([1, 5, 4, 2, 3])  # gradient error and SAD rise together
    people = dict(zip(sorted(errors), "abbca"))
    assert study.worst_of(errors, people, 2) == ["p01", "p04"]
    assert study.worst_of(errors, people, 9) == ["p01", "p04", "p03"]


# --- the table --------------------------------------------------------------------


def test_the_table_says_what_numpy_says():
    rows = [
        MattingMethod(name, f"row {name}", lambda: None) for name in ("portrait", "portrait_warm")
    ]
    values = {"portrait": [1e-3, 2e-3, 3e-3, 2e-3], "portrait_warm": [2e-3, 2e-3, 4e-3, 4e-3]}
    errors = {name: errors_like(each) for name, each in values.items()}
    people = dict(zip(errors["portrait"], "aabb"))
    report = study.study_report(rows, errors, people, {})
    assert json.loads(json.dumps(report)) == report
    assert (report["images"], report["people"]) == (4, 2)
    error = np.std(values["portrait"], ddof=1) / 2
    by_person = np.std([1.5e-3, 2.5e-3], ddof=1) / np.sqrt(2)
    text = study.study_section(report)
    assert (
        f"| {2:.2f} ± {error * 1e3:.2f} ({by_person * 1e3:.2f}) |"
        in text.split("row portrait |")[1]
    )
    gaps = np.subtract(values["portrait"], values["portrait_warm"])
    difference = text.splitlines()[-1]
    assert f"| {gaps.mean() * 1e3:+.2f} ± {gaps.std(ddof=1) / 2 * 1e3:.2f}" in difference
    assert difference.endswith("| 75% of images |")
    assert set(estimates(errors["portrait"], people)) == set(NAMES)


def choice(hand=None, bystanders=0, hat=None, resembles_hair=False):
    return {
        "hand": hand,
        "accessories": {"hat": hat},
        "background": {"bystanders": bystanders, "resembles_hair": resembles_hair},
    }


def test_errors_by_stratum_are_counted_once_and_from_the_bound(portraits, tmp_path):
    made = [choice(hand={}, bystanders=2), choice(bystanders=1), choice(), choice()]
    (tmp_path / "meta").mkdir()
    for portrait, chosen in zip(portraits, made):
        (tmp_path / f"meta/{portrait.stem}.json").write_text(json.dumps({"choice": chosen}))
    stems = [portrait.stem for portrait in portraits]
    choices = read_contents(tmp_path, stems)  # the fifth was not rendered
    assert list(choices.values()) == made
    # The first measure, the gradient error, is as given, SAD is five times that.
    assert (NAMES.index("dapm_gradient"), NAMES.index("sad")) == (0, 4)
    errors, bound = (
        errors_like([9e-3, 5e-3, 4e-3, 2e-3, 7.0]),
        errors_like([1e-3, 2e-3, 1e-3, 1e-3, 0]),
    )
    people = dict(zip(errors, "abbcd"))
    rows = [MattingMethod(name, f"row {name}", lambda: None) for name in ("portrait", "bound")]
    report = study.study_report(rows, {"portrait": errors, "bound": bound}, people, choices)
    assert json.loads(json.dumps(report)) == report
    hands, bystanders, others = report["kinds"]
    assert [row["images"] for row in report["kinds"]] == [1, 1, 2]
    assert sum(row["sad"]["share"] for row in report["kinds"]) == pytest.approx(1)
    assert hands["sad"]["beyond"]["mean"] == pytest.approx(5 * 8e-3)
    assert bystanders["dapm_gradient"]["share"] == pytest.approx(3 / 15)
    assert others["dapm_gradient"]["mean"] == pytest.approx(3e-3)
    line = study.study_section(report).splitlines()[-1]
    assert line.startswith("| none of these | 2 | ")
    assert line.endswith("| 3.00 | +2.00 ± 1.00 (1.00) | 27% |")


def test_without_the_bound_there_are_no_errors_by_stratum():
    errors = errors_like([1, 2])
    rows = [MattingMethod("portrait", "a row", lambda: None)]
    people, choices = dict(zip(errors, "ab")), {stem: choice() for stem in errors}
    report = study.study_report(rows, {"portrait": errors}, people, choices)
    assert report["kinds"] == [] and "beyond" not in study.study_section(report)


def test_docs_hold_what_the_results_say():
    """Run `python -m tools.experiments.study docs` after measuring."""
    if not study.RESULTS.is_file():
        pytest.skip("nothing is measured yet")
    assert study.study_section(json.loads(study.RESULTS.read_text())) in study.DOCS.read_text()
