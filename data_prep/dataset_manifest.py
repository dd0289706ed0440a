"""Write the checksums of a dataset into its `dataset.json` (`data_prep.datasets.manifest`).

.venv/bin/python -m data_prep.dataset_manifest FOLDER     # (re)write the checksums
"""

from __future__ import annotations

import argparse

from data_prep.common.errors import run_program
from data_prep.common.options import named_path
from data_prep.datasets.manifest import MANIFEST, check_finished, describe_files


def main(argv: list[str] | None = None) -> int:
    """Write the manifest of a dataset made by hand or changed on purpose."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=named_path)
    folder = parser.parse_args(argv).folder
    check_finished(folder)
    manifest = describe_files(folder)
    manifest.save(folder)
    print(f"{folder / MANIFEST}: {len(manifest.files)} files.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
