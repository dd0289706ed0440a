"""Write every net definition of this project.

    python -m prototxt.generate            # write prototxt/*.prototxt
    python -m prototxt.generate --check    # exit 1 if a file differs

File names: NET[_nomask][_trimap]_{train_val,deploy}.prototxt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from prototxt.netspec import fcn8s, portrait, selfie

FOLDER = Path(__file__).parent
HEADER = "# Written by prototxt/netspec/generate.py: change the generator, then run 'make prototxt'.\n"


def definitions() -> dict[str, str]:
    """Every net definition, file name to text."""
    files = {}
    for net in fcn8s.SHAPES:
        for shape_mask in (True, False) if net in fcn8s.WITHOUT_MASK else (True,):
            for head in ("matting", "trimap"):
                stem = (
                    net + ("" if shape_mask else "_nomask") + ("_trimap" * (head == "trimap"))
                )
                files[f"{stem}_train_val.prototxt"] = fcn8s.train_val(net, head, shape_mask)
                files[f"{stem}_deploy.prototxt"] = fcn8s.deploy(net, head, shape_mask)
    for net in portrait.VARIANTS:
        for head in ("matting", "trimap"):
            stem = net + "_trimap" * (head == "trimap")
            files[f"{stem}_train_val.prototxt"] = portrait.train_val(net, head)
            files[f"{stem}_deploy.prototxt"] = portrait.deploy(net, head)
    files["selfie_train_val.prototxt"] = selfie.selfie_train_val()
    files["selfie_deploy.prototxt"] = selfie.selfie_deploy()
    files["selfie_trimap_deploy.prototxt"] = selfie.selfie_trimap_deploy()
    return {name: HEADER + str(net) for name, net in files.items()}


def stale_files(folder: Path = FOLDER) -> list[str]:
    """Names of files that differ from the generator or should not be there."""
    wanted = definitions()
    present = {path.name: path.read_text() for path in folder.glob("*.prototxt")}
    return sorted(
        name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name)
    )


def main(argv: list[str] | None = None) -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args(argv).check:
        if stale := stale_files():
            raise InputError(f"{', '.join(stale)} differ from the generator; run 'make prototxt'.")
        return 0
    for name, text in definitions().items():
        with atomic_write(FOLDER / name) as path:
            path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
