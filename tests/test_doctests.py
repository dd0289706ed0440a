"""The examples in docstrings run and give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest
from checkout import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("caffe_layers", "data_prep", "prototxt", "tools")
    for path in (ROOT / folder).rglob("*.py")
    if "\n>>> " in path.read_text() or "\n    >>> " in path.read_text()
)


def test_there_are_examples():
    assert {"caffe_layers.matting", "tools.matting.session"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name):
    attempted = doctest.testmod(importlib.import_module(name))
    assert attempted.attempted and not attempted.failed
