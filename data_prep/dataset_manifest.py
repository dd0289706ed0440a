"""`dataset.json`: what a dataset was made from, and the checksum of every file.

    python -m data_prep.dataset_manifest FOLDER     # (re)write the checksums

A dataset works without this file.  With it, a photo or matte that has changed
since is noticed.  The lists train.txt and test.txt carry no checksum: taking a
portrait off them is how one leaves it out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.common.errors import run_program
from data_prep.datasets.manifest import MANIFEST, check_finished, describe_files


def main(argv: list[str] | None = None) -> int:
    """Write the manifest of a dataset made by hand or changed on purpose."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    check_finished(folder)
    manifest = describe_files(folder)
    manifest.save(folder)
    print(f"{folder / MANIFEST}: {len(manifest.files)} files.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
