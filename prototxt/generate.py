"""Write every net definition of this project.

    .venv/bin/python -m prototxt.generate            # write prototxt/NET/*.prototxt
    .venv/bin/python -m prototxt.generate --check    # exit 1 if a file differs

Each net has a folder: train_val and deploy end with the matte, trimap_train_val and
trimap_deploy with the scores (`prototxt.catalog` knows them all).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from prototxt.catalog import MULTICLASS
from prototxt.netspec import (
    crfrnn,
    deeplab,
    face_detector,
    fcn8s,
    multiclass,
    portrait,
    portraitfcn,
    pose,
    selfie,
)

FOLDER = Path(__file__).parent
HEADER = "# Written by prototxt/generate.py: change the generator, then run 'make prototxt'.\n"
#: What a net ends with, and what the names of its files begin with.
HEADS = {"matting": "", "trimap": "trimap_"}


def definitions() -> dict[str, str]:
    """Every net definition, by its path in `FOLDER`."""
    files = {}
    for net in fcn8s.SHAPES:
        for shape_mask in (True, False) if net in fcn8s.WITHOUT_MASK else (True,):
            folder = net if shape_mask else f"{net}_nomask"
            for head, prefix in HEADS.items():
                files[f"{folder}/{prefix}train_val"] = fcn8s.train_val(net, head, shape_mask)
                files[f"{folder}/{prefix}deploy"] = fcn8s.deploy(net, head, shape_mask)
    for net in portrait.VARIANTS:
        for head, prefix in HEADS.items():
            files[f"{net}/{prefix}train_val"] = portrait.train_val(net, head)
            files[f"{net}/{prefix}deploy"] = portrait.deploy(net, head)
    # The rows of Table 1 that end with a trimap, or with a person, have no matting head.
    for net in deeplab.VARIANTS:
        files[f"{net}/trimap_train_val"] = deeplab.train_val(net)
        files[f"{net}/trimap_deploy"] = deeplab.deploy(net)
    for net in portraitfcn.VARIANTS:
        files[f"{net}/trimap_train_val"] = portraitfcn.train_val(net)
        files[f"{net}/trimap_deploy"] = portraitfcn.deploy(net)
    for net in crfrnn.VARIANTS:
        files[f"{net}/trimap_train_val"] = crfrnn.train_val(net)
        files[f"{net}/deploy"] = crfrnn.deploy(net)
        files[f"{net}/trimap_deploy"] = crfrnn.trimap_deploy(net)
    files["selfie/train_val"] = selfie.selfie_train_val()
    files["selfie/deploy"] = selfie.selfie_deploy()
    files["selfie/trimap_deploy"] = selfie.selfie_trimap_deploy()
    files["face_detector/deploy"] = face_detector.deploy()
    files["pose_detector/deploy"] = pose.detector_deploy()
    files["person_mask/deploy"] = pose.person_mask_deploy()
    for side in MULTICLASS:
        files[f"multiclass/deploy_{side}"] = multiclass.deploy(side)
    return {f"{name}.prototxt": HEADER + str(net) for name, net in files.items()}


def stale_files(folder: Path = FOLDER) -> list[str]:
    """Paths in the folder of what differs from the generator or should not be there."""
    wanted = definitions()
    present = {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.prototxt")
    }
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
