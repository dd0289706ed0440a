"""The choice of a GPU: where there is none, one sentence before any work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from data_prep.common.errors import InputError
from tools import matte, serve, test_net, train
from tools.experiments import study
from tools.matting import device
from tools.matting.models import ROOT

#: No machine has so many.
ABSENT = 99


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.delenv(device.VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (train.main, ["lite"]),
        (test_net.main, []),
        (matte.main, ["photo.jpg"]),
        (serve.main, ["--port", "0"]),
        (study.main, ["run"]),
        (study.main, ["worst"]),
    ],
    ids=lambda each: each.__module__.rpartition(".")[2] if callable(each) else each[0:1],
)
def test_every_program_refuses_a_gpu_that_is_not_there(main, arguments):
    with pytest.raises(InputError, match=f"There is no GPU {ABSENT} .*; leave out --gpu"):
        main([*arguments, "--gpu", str(ABSENT)])
    assert device.VARIABLE not in os.environ


def test_the_sentence_is_all_that_a_program_says(tmp_path):
    photo = tmp_path / "photo.png"
    result = subprocess.run(
        [sys.executable, "-m", "tools.matte", photo, "--gpu", str(ABSENT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert f"There is no GPU {ABSENT}" in line


@pytest.mark.parametrize("text", ["-1", "first", "0,1"])
def test_what_is_no_number_is_a_wrong_option(text, capsys):
    with pytest.raises(SystemExit) as caught:
        matte.main(["photo.jpg", f"--gpu={text}"])
    assert caught.value.code == 2
    assert "--gpu" in capsys.readouterr().err


def test_without_a_choice_nets_run_on_the_cpu():
    device.choose_gpu(None)
    assert device.chosen_gpu() is None


def test_worker_processes_inherit_the_choice_and_ask_for_the_device_themselves(monkeypatch):
    monkeypatch.setenv(device.VARIABLE, str(ABSENT))
    with pytest.raises(InputError, match=f"There is no GPU {ABSENT}"):
        device.choose_gpu(None)
    code = "from tools.matting.session import MattingSession; MattingSession('selfie')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )
    assert f"InputError: There is no GPU {ABSENT}" in result.stderr


def test_a_variable_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv(device.VARIABLE, "first")
    with pytest.raises(InputError, match=f"{device.VARIABLE}=first is no number"):
        device.chosen_gpu()
