"""What is told of mattes that can be used."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from data_prep.datasets.manifest import Problem
from data_prep.datasets.notes import NAMED, notes_on_mattes, notes_on_passed_over

HARD = np.bincount([0, 255], minlength=256)
SOFT = np.bincount([0, 128, 255], minlength=256)


@pytest.mark.parametrize(
    ("names", "counts", "told"),
    [
        (["a.png", "b.png"], [SOFT, SOFT], []),
        (["a.png", "b.png"], [HARD, HARD], ["All training mattes are hard masks"]),
        (["a.png", "b.png"], [HARD, SOFT], ["Hard masks, .* for training: a.png"]),
        (["a.png", "b.JPG"], [HARD, SOFT], ["Hard masks.*: a.png", "JPEG mattes.*: b.JPG"]),
    ],
)
def test_hard_and_lossy_mattes_are_named(names, counts, told):
    notes = notes_on_mattes(list(map(Path, names)), counts)
    assert len(notes) == len(told)
    for note, pattern in zip(notes, told, strict=True):
        assert re.match(pattern, note)


def test_long_lists_are_cut_and_counted():
    files = [Problem(Path(f"images/{i}.txt"), "no image") for i in range(NAMED + 3)]
    (note,) = notes_on_passed_over(files)
    assert note.startswith("Passed over: images/0.txt (no image); images/1.txt")
    assert note.endswith("; and 3 more.") and f"{NAMED}.txt" not in note
