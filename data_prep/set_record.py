"""What a rendered set holds, short enough for git: who is on which side, and digests.

    .venv/bin/python -m data_prep.set_record FOLDER RECORD            # compare the two
    .venv/bin/python -m data_prep.set_record FOLDER RECORD --write    # write RECORD

A set that is rendered again from the same seed should be the same to the last
bit; on another processor it need not be.  The comparison names the people whose photos or
mattes differ from those that the published figures come from.
"""

from __future__ import annotations

import argparse

from data_prep.common.errors import run_program
from data_prep.common.files import atomic_write
from data_prep.common.options import named_path
from data_prep.datasets.rendered_record import (
    SIDES,
    describe_set,
    differences,
    format_record,
    read_record,
)


def main(argv: list[str] | None = None) -> int:
    """Write the record of a set, or compare the two."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=named_path)
    parser.add_argument("record", type=named_path)
    parser.add_argument("--write", action="store_true", help="write the record")
    options = parser.parse_args(argv)
    found = describe_set(options.folder)
    counts = ", ".join(
        f"{len(found[side])} people in {sum(each['photos'] for each in found[side].values())} "
        f"{side} photos"
        for side in SIDES
    )
    if options.write:
        with atomic_write(options.record) as scratch:
            scratch.write_text(format_record(found))
        print(f"{options.record}: {counts}.")
        return 0
    if not options.record.is_file():
        print(f"{options.folder}: {counts}; {options.record} is not written yet.")
        return 0
    lines = differences(found, read_record(options.record))
    print(f"{options.folder}: {counts}; {len(lines)} differences from {options.record}.")
    print(*lines, sep="\n", end="\n" if lines else "")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
