"""Choices as a portrait's meta file keeps them."""

from __future__ import annotations

import json
from dataclasses import asdict


def assert_survives_json(choice: object) -> None:
    """What is read back of a choice, a dataclass, is all of it; tuples are lists there."""
    facts = asdict(choice)
    assert json.loads(json.dumps(facts)) == _with_lists(facts)


def _with_lists(value: object) -> object:
    if isinstance(value, dict):
        return {key: _with_lists(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_lists(each) for each in value]
    return value
