"""Links of the documents lead somewhere, what they count is right, and the README stays short."""

from __future__ import annotations

import ast
import importlib.util
import math
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from caffe.proto import caffe_pb2
from checkout import ROOT

from tools.table.rows import ROWS

PICTURES = (".jpg", ".png", ".svg")
MOST_LINES = 130  # of the README: it is read in two minutes
# Not the whole tree: data/ may hold rendered sets, and environments hold documents too.
PLACES = (
    "*.md",
    "data/*/*.md",
    *(
        f"{folder}/**/*.md"
        for folder in (
            "caffe_layers",
            "data_prep",
            "docs",
            "prototxt",
            "solver",
            "tests",
            "tools",
        )
    ),
)

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    return sorted({path for pattern in PLACES for path in ROOT.glob(pattern)})


def links_of(text: str) -> list[str]:
    """Targets of the links and images of a page that are in the repository."""
    targets = LINK.findall(FENCED.sub("", text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@cache
def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings, as repositories' web pages make them."""
    anchors: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", page.read_text())):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchor, number = plain, 0
        while anchor in anchors:
            number += 1
            anchor = f"{plain}-{number}"
        anchors.add(anchor)
    return anchors


def test_links_anchors_and_images_are_found_in_a_page():
    page = "[a](b.md#c) ![d\ne](f.png) <https://g.h> [i](https://j.k)\n```\n[l](m)\n```\n"
    assert links_of(page) == ["b.md#c", "f.png"]


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_document_leads_to_a_file_and_a_heading(page):
    broken = []
    for link in links_of(page.read_text()):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


def test_every_page_and_picture_in_docs_is_reached():
    navigation = (ROOT / "mkdocs.yml").read_text()
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in documents()
        for link in links_of(page.read_text())
    }
    pages = list((ROOT / "docs").rglob("*.md"))
    assert pages
    for page in pages:
        assert f": {page.relative_to(ROOT / 'docs')}\n" in navigation
    pictures = {path for path in (ROOT / "docs").iterdir() if path.suffix in PICTURES}
    assert pictures <= linked


@pytest.mark.parametrize(
    "link, shown",
    [
        ("[NOTICE](../../NOTICE)", "`NOTICE`"),
        ("[its\nassets](../../data/a.md#b)", "its\nassets (`data/a.md`)"),
        ("[`tools/a.py`](../../tools/a.py)", "`tools/a.py`"),
        ("[usage](../usage.md#models)", "[usage](../usage.md#models)"),
        ("[here](page.md)", "[here](page.md)"),
    ],
)
def test_the_site_shows_paths_for_links_that_leave_docs(link, shown):
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site_hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="reference/page.md"))
    assert hooks.on_page_markdown(f"a {link} b", page=page) == f"a {shown} b"


@pytest.mark.parametrize("package", ["data_prep", "prototxt", "tools"])
def test_the_readme_of_a_package_names_all_its_programs_and_rooms(package):
    folder = ROOT / package
    files = {path.name for suffix in (".py", ".sh") for path in folder.glob(f"*{suffix}")}
    rooms = {
        f"{path.name}/"
        for path in folder.iterdir()
        if (path / "__init__.py").is_file() or any(path.glob("*.prototxt"))
    }
    named = set(re.findall(r"`([\w/]+(?:\.py|\.sh|/))`", (folder / "README.md").read_text()))
    assert not (files | rooms) - {"__init__.py"} - named
    absent = {name for name in named if not (any(folder.rglob(name)) or (ROOT / name).exists())}
    assert not absent


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("room", ["experiments", "benchmarks"])
def test_the_readme_of_tools_names_all_studies_and_benchmarks(room):
    folder = ROOT / "tools" / room
    programs = {path.name for path in folder.glob("*.py") if "__main__" in path.read_text()}
    named = re.findall(rf"`{room}/(\w+\.py)`", (ROOT / "tools/README.md").read_text())
    assert programs and set(named) == programs


@pytest.mark.parametrize("package", ["data_prep", "prototxt", "tools"])
def test_helps_name_the_environment_that_programs_run_in(package):
    """Debian 12 has no program ``python``."""
    commands = [
        line
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
        if re.match(r" *\S*python3? -m ", line)
    ]
    assert commands
    assert all(re.match(r" *\.venv(-\w+)?/bin/python -m ", line) for line in commands)


def test_the_model_card_counts_the_weights_of_the_default():
    card = (ROOT / "docs/model-card.md").read_text()
    rows = re.findall(r"\| ([\d,]+) \| `(data/\w+/\w+\.caffemodel)`, ([\d.]+) MB", card)
    counted = []
    for weights, name, megabytes in rows:
        net = caffe_pb2.NetParameter.FromString((ROOT / name).read_bytes())
        shapes = [blob.shape.dim for layer in net.layer for blob in layer.blobs]
        counted.append(sum(math.prod(shape) for shape in shapes))
        assert f"{counted[-1]:,}" == weights
        assert f"{(ROOT / name).stat().st_size / 1e6:.2f}" == megabytes
    assert len(counted) == 5 and f"| all | | {sum(counted):,} |" in card


def test_the_papers_table_1_has_the_figures_that_rows_are_compared_with():
    benchmark = (ROOT / "docs/benchmark.md").read_text()
    figures = list(dict.fromkeys(row.paper for row in ROWS if row.paper))  # two rows may share them
    start = benchmark.index("The paper's own figures")
    table = re.findall(r"^\| [\w+ -]+ \| ([\d.]+) \| ([\d.]+) \|$", benchmark[start:], re.M)
    assert [(float(a), float(b)) for a, b in table[: len(figures)]] == figures
