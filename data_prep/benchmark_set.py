"""Write the open test split: the test portraits of the rendered set, small enough for git.

    .venv/bin/python -m data_prep.benchmark_set data/portrait_set data/benchmark

Photos are stored as JPEG of quality 92 and mattes as PNG of 8 bits, as the set has them;
test.txt names them, dataset.json holds their checksums and who is in them, and contents.json
what the studio put there, by which errors are told apart.  The set has
to be the one of its record (data/portrait_set.json): then figures on the split can be
compared with each other, whoever measured them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
from tqdm import tqdm

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.common.images import compressed, read_matte, read_photo, refuse_overwriting
from data_prep.common.options import named_path
from data_prep.datasets.dataset import Dataset, Portrait
from data_prep.datasets.manifest import DatasetManifest
from data_prep.datasets.rendered_contents import write_contents
from data_prep.datasets.rendered_record import describe_set, differences, read_record

JPEG = (cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 9)


def write_portrait(portrait: Portrait, out: Path) -> dict[str, str]:
    """Write a photo and its matte; sha256 of the files by their names in the folder."""
    contents = {
        f"images/{portrait.stem}.jpg": compressed(read_photo(portrait.photo), ".jpg", JPEG),
        f"mattes/{portrait.stem}.png": compressed(read_matte(portrait.matte), ".png", PNG),
    }
    for name, content in contents.items():
        with atomic_write(out / name) as scratch:
            scratch.write_bytes(content)
    return {name: sha256_of(out / name) for name in contents}


def check_recorded(folder: Path, record: Path) -> None:
    """Refuse a set whose test portraits are not those of a record.

    Raises
    ------
    InputError
        If one differs or is missing.
    """
    if not record.is_file():
        raise InputError(f"{record} does not exist; name the record of the set with --record.")
    found = differences(describe_set(folder), read_record(record))
    lines = [line for line in found if line.startswith(("test ", "made"))]
    if lines:
        raise InputError(
            f"{folder} is not the set of {record}: {'; '.join(lines[:3])}"
            f"{' and more' if len(lines) > 3 else ''}; render it with `make portrait-set`."
        )


def main(argv: list[str] | None = None) -> int:
    """Write the test portraits of a set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("set", type=named_path, help="folder of the rendered set")
    parser.add_argument("out", type=named_path, help="folder to write")
    parser.add_argument(
        "--record", type=named_path, help="record of the set (default: its name with .json)"
    )
    options = parser.parse_args(argv)
    refuse_overwriting([options.out], [options.set])
    check_recorded(options.set, options.record or options.set.with_name(f"{options.set.name}.json"))
    known = DatasetManifest.load(options.set)
    portraits = Dataset.open(options.set, test_only=True).test
    files: dict[str, str] = {}
    for portrait in tqdm(portraits, "benchmark", unit="portrait"):
        files |= write_portrait(portrait, options.out)
    with atomic_write(options.out / "test.txt") as scratch:
        scratch.write_text("".join(f"{portrait.stem}\n" for portrait in portraits))
    DatasetManifest(
        origin=known.origin,
        files=files,
        portraits={
            portrait.stem: {
                key: known.portraits[portrait.stem][key] for key in ("person", "variant")
            }
            for portrait in portraits
        },
    ).save(options.out)
    write_contents(options.set, options.out, [portrait.stem for portrait in portraits])
    size = sum((options.out / name).stat().st_size for name in files)
    print(f"{options.out}: {len(portraits)} portraits, {size / 1e6:.1f} MB.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
