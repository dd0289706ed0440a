"""The import graph: who may import whom, read from the source of every module."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from checkout import ROOT

PACKAGES = ("caffe_layers", "prototxt", "data_prep", "tools")


@cache
def modules() -> dict[str, Path]:
    """Every module of the packages, by dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def is_program(name: str) -> bool:
    """Whether the module is meant to be run: by its ``__main__`` block, or by an entry point."""
    return name == "tools.console" or 'if __name__ == "__main__":' in modules()[name].read_text()


@cache
def imports() -> dict[str, frozenset[str]]:
    """By module: the modules of this project that it imports, inside functions too."""
    graph = {}
    for name, path in modules().items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    if not alias.name.startswith("_"):  # extension modules import nothing
                        targets.add(whole if whole in modules() else node.module)
        graph[name] = frozenset(targets & modules().keys() - {name})
    return graph


def room(name: str) -> str:
    """The package that a module lies in; a package's own ``__init__`` is of that package."""
    return name if modules()[name].name == "__init__.py" else name.rpartition(".")[0]


def circle_of(graph: dict[str, set[str]]) -> list[str]:
    """Nodes of one circle in a directed graph, or an empty list."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph.get(node, ())):
            if found := visit(target, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


def test_modules_import_each_other_in_no_circle():
    assert circle_of({name: set(targets) for name, targets in imports().items()}) == []


def test_rooms_import_each_other_in_no_circle():
    # Programs stand on top of the rooms below them: `tools/train.py` is no part of a circle.
    programs = {name for name in modules() if is_program(name)}
    graph = {}
    for name, targets in imports().items():
        if name not in programs:
            graph.setdefault(room(name), set()).update(room(t) for t in targets)
    for start, targets in graph.items():
        targets.discard(start)
    assert circle_of(graph) == []


@pytest.mark.parametrize("name", sorted(modules()))
def test_nobody_imports_a_program(name):
    if name != "tools.console":  # the entry points of the installed package start programs
        assert [target for target in imports()[name] if is_program(target)] == []


def test_a_circle_is_found_where_there_is_one():
    assert circle_of({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle_of({"a": {"b", "c"}, "b": {"c"}}) == []


def test_mathematics_needs_neither_caffe_nor_another_room():
    mathematics = [
        name
        for name in modules()
        if name.startswith("caffe_layers") and not name.endswith("_layer")
    ]
    assert "caffe_layers.matting" in mathematics
    for name in mathematics:
        assert all(target.startswith("caffe_layers") for target in imports()[name]), name


# What programs share: here their sentences are written, and what libraries log is shown.
SPEAKER = "data_prep.common.errors"
# Ways to the terminal that a caller of the library could not silence or redirect.
SPEAKING = {"print", "warnings.warn", "traceback.print_exc", "sys.stdout.write", "sys.stderr.write"}


def calls(name: str) -> set[str]:
    """Names of the functions that a module calls, as they stand in its source."""
    nodes = ast.walk(ast.parse(modules()[name].read_text()))
    return {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}


@pytest.mark.parametrize("name", sorted(modules()))
def test_libraries_log_and_do_not_print(name):
    if name != SPEAKER and not is_program(name):
        assert not calls(name) & SPEAKING


def test_a_print_is_found_where_there_is_one():
    assert "print" in calls(SPEAKER)
