"""Fetch everything that the studio takes from others; `LICENSES.md` beside this file lists it.

.venv-render/bin/python -m data_prep.render.assets      # fetch what is missing, print where it is
"""

from __future__ import annotations

import argparse

from data_prep.common.assets import fetch
from data_prep.common.errors import run_program
from data_prep.render.base.assets import (
    ENVIRONMENT_MAPS,
    TEXTURES,
    body_data_dir,
    environment_map_path,
)


def main(argv: list[str] | None = None) -> int:
    """Fetch everything the studio needs."""
    argparse.ArgumentParser(description=main.__doc__).parse_args(argv)
    print(body_data_dir())
    for name in TEXTURES:
        print(fetch(name))
    for name in ENVIRONMENT_MAPS:
        print(environment_map_path(name))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
