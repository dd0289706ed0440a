"""How programs speak: one sentence, whatever the names in it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
from checkout import ROOT

from data_prep.common.errors import (
    READER_GONE,
    InputError,
    collected_warnings,
    printable,
    run_program,
    tell,
)
from data_prep.common.files import atomic_write, remove_leftovers

LATIN = os.fsdecode(b"lat\xe9in.jpg")  # no UTF-8
logger = logging.getLogger("data_prep.test")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_the_output_does_not_hold_are_written_with_backslashes(encoding):
    program = (
        "import os, sys\n"
        "from data_prep.common.errors import InputError, run_program\n"
        "name = os.fsdecode(sys.argv[1])\n"
        "def main():\n"
        "    print(name, 'Zoë')\n"
        "    raise InputError(f'{name} is bad')\n"
        "raise SystemExit(run_program(main))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    run = subprocess.run(
        [sys.executable, "-c", program, os.fsencode(LATIN)], env=environment, capture_output=True
    )
    assert run.returncode == 1
    assert run.stdout.startswith(rb"lat\udce9in.jpg Zo")
    assert run.stderr.decode() == "-c: lat\\udce9in.jpg is bad\n"


PRINTING = (
    "from data_prep.common.errors import run_program\n"
    "raise SystemExit(run_program(lambda: print('x' * 100)))\n"
)


@pytest.mark.parametrize("unbuffered", ["", "1"])  # the write itself fails, or the last flush
def test_output_that_cannot_be_written_ends_in_a_sentence(unbuffered):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-c", PRINTING]
    with open("/dev/full", "w") as full:
        run = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE)
    assert run.returncode == 1
    assert run.stderr.decode() == (
        "-c: A file, or standard input or output, could not be read or written (No space left on "
        "device); free some space or choose another place.\n"
    )
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does
    run = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (run.returncode, run.stderr) == (READER_GONE, b"")


def test_an_error_is_told_where_nobody_reads_the_output():
    program = (
        "from data_prep.common.errors import InputError, run_program\n"
        "def program():\n"
        "    print('x' * 100)\n"
        "    raise InputError('a.jpg is bad.')\n"
        "raise SystemExit(run_program(program))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": ""}
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (run.returncode, run.stderr) == (1, b"-c: a.jpg is bad.\n")


def test_a_program_runs_without_standard_output():
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-c", PRINTING]
    run = subprocess.run(command, env=environment, capture_output=True)
    assert (run.returncode, run.stderr) == (0, b"")


def test_what_the_system_reports_becomes_a_sentence_with_a_remedy(tmp_path, capsys):
    assert run_program(lambda: (tmp_path / "none.txt").read_text()) == 1
    told = capsys.readouterr().err
    assert "none.txt could not be read or written (No such file or directory); check" in told
    assert run_program(lambda: tmp_path.read_text()) == 1
    assert "(Is a directory); check the file and its folder." in capsys.readouterr().err

    def another_pipe_breaks():
        raise BrokenPipeError(32, "Broken pipe")

    assert run_program(another_pipe_breaks) == 1
    assert "(Broken pipe)" in capsys.readouterr().err


def test_the_remedy_of_a_failed_write_fits_its_reason(tmp_path):
    def failure(path):
        with pytest.raises(InputError) as failed, atomic_write(path) as scratch:
            scratch.write_bytes(b"content")
        return str(failed.value)

    (tmp_path / "file").touch()
    assert failure(tmp_path / "file/a.png").endswith("(File exists); choose another place.")
    long = tmp_path / f"{300 * 'a'}.png"
    assert failure(long).endswith("(File name too long); choose a shorter name.")
    with pytest.raises(InputError, match="journal could not be read or written"):
        with atomic_write(tmp_path / "a.png"):
            (tmp_path / "journal").read_bytes()
    for longest in (f"{251 * 'a'}.png", f"{125 * 'ä'}.png"):  # of 255 bytes, of 254
        with atomic_write(tmp_path / longest) as scratch:
            scratch.write_bytes(b"content")
        assert (tmp_path / longest).read_bytes() == b"content"
    scratch = tmp_path / ".a[1].123.png"
    scratch.touch()
    remove_leftovers(tmp_path / "a[1].png")
    assert not scratch.exists()


def test_library_that_takes_utf_8_only_ends_in_a_sentence(capsys):
    assert run_program(lambda: LATIN.encode()) == 1
    assert r"the name lat\udce9in.jpg is no UTF-8; rename the file." in capsys.readouterr().err
    with pytest.raises(UnicodeEncodeError):  # a fault of ours
        run_program(lambda: "Zoë".encode("ascii"))
    assert printable("Zoë.jpg") == "Zoë.jpg"


def test_warnings_of_libraries_are_sentences_of_the_program(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tools/some.py"])
    assert run_program(lambda: logger.warning("%s is left out", "this")) == 0
    assert capsys.readouterr().err == "some.py: this is left out\n"
    tell("and so on")
    assert capsys.readouterr().err == "some.py: and so on\n"


def test_warnings_are_collected_each_once_and_only_ours(caplog):
    with collected_warnings() as told:
        for _ in range(2):
            logger.warning("once")
        logger.info("no warning")
        logging.getLogger("elsewhere").warning("not ours")
    logger.warning("after")
    assert told == ["once"]
    assert caplog.messages == ["not ours", "after"]


def test_notes_of_libraries_are_printed_by_programs_that_ask_for_them(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tools/some.py"])

    def program():
        logger.info("%d notes", 2)
        logger.warning("one warning")
        logging.getLogger("elsewhere").info("not ours")

    run_program(program, notes=True)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("2 notes\n", "some.py: one warning\n")
    run_program(program)
    assert capsys.readouterr().out == ""


def test_handlers_come_back_after_a_failure():
    before = logging.getLogger().handlers[:]
    with pytest.raises(InputError), collected_warnings():
        raise InputError("bad")
    assert logging.getLogger().handlers == before
