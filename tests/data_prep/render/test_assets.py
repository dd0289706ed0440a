"""Assets: listed with a license, and no others used."""

import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

from data_prep.render.base import assets

LICENSES = Path(assets.__file__).parents[1] / "LICENSES.md"
FREE = {"CC0-1.0"}


def listed():
    """Asset by name: its license, of the first table."""
    section = LICENSES.read_text().split("## Assets")[1].split("## Programs")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("|")]
    return {row[0].strip(): row[3].strip() for row in rows[2:]}


def test_every_asset_is_listed_and_no_other():
    assert set(listed()) == {"body-model", *assets.TEXTURES, *assets.ENVIRONMENT_MAPS}


def test_every_asset_may_be_redistributed():
    assert set(listed().values()) == FREE


def test_maps_that_show_people_are_not_shown():
    notes = LICENSES.read_text()
    for name, each in assets.ENVIRONMENT_MAPS.items():
        assert f"polyhaven.com/a/{each.title}" in notes
        row = next(line for line in notes.splitlines() if line.startswith(f"| {name} |"))
        assert ("light only" in row) == (not each.as_background)


def test_nothing_outside_imports_the_studio():
    root, studio = Path(assets.__file__).parents[3], Path(assets.__file__).parents[1]
    others = [
        path
        for folder in ("caffe_layers", "data_prep", "prototxt", "tools")
        for path in (root / folder).rglob("*.py")
        if studio not in path.parents
    ]
    assert len(others) > 50
    for path in others:
        assert "data_prep.render" not in path.read_text(), path
        assert "import bpy" not in path.read_text(), path


# Prints every file that a render opens and that is neither code nor its own output.
OPENED = """
import os, sys
files = set()
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        files.add(os.path.realpath(arguments[0]))
sys.addaudithook(note)
from data_prep.render import portraits
portraits.main(["--only", "8", "--scale", "0.08", "--samples", "1", "--lens-positions", "4",
                "--out", sys.argv[1]])
import bpy
files |= {os.path.realpath(bpy.path.abspath(image.filepath))
          for image in bpy.data.images if image.filepath}
print("OPENED", *sorted(files), sep="\\n")
"""


@pytest.mark.render
def test_a_render_opens_no_other_asset(tmp_path):
    out = tmp_path / "set"
    run = subprocess.run(
        [sys.executable, "-c", OPENED, str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [Path(line) for line in run.stdout.split("OPENED\n")[1].splitlines()]
    allowed = [assets.body_data_dir(), *(assets.fetch(name).parent for name in assets.TEXTURES)]
    allowed += [assets.environment_map_path(name) for name in assets.ENVIRONMENT_MAPS]
    allowed = [path.resolve() for path in allowed]
    pictures = {
        ".exr",
        ".hdr",
        ".png",
        ".jpg",
        ".jpeg",
        ".obj",
        ".target",
        ".gz",
        ".blend",
        ".npz",
        ".npy",
        ".tif",
    }
    used = [path for path in files if path.suffix in pictures and out not in path.parents]
    assert any(path.is_relative_to(allowed[0]) for path in used)
    for path in used:
        if path.name == "pass.exr":
            continue  # the render itself, on its way from Blender
        assert any(path.is_relative_to(root) for root in allowed), path
