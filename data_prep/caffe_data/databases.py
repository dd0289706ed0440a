"""The databases of both splits, written from the records that workers encode."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from tqdm import tqdm

from data_prep.caffe_data.caffe_lmdb import (
    AlignedWriter,
    estimate_bytes,
    shuffled_keys,
    written_bytes,
)
from data_prep.caffe_data.records import PARTS, Face, RecordEncoder
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from data_prep.common.parallel import OrderedMap

logger = logging.getLogger(__name__)

SPLITS = ("train", "test")
SAMPLED = 8  # portraits of each split whose records the total size is estimated from

#: What `RecordEncoder` makes of one portrait.
Records = list[tuple[bytes, ...]]


def database_paths(out: Path, split: str) -> list[Path]:
    """The databases of one split, in the order of `PARTS`."""
    return [out / f"{split}_{part}" for part in PARTS]


@dataclass
class Split:
    """One split on its way into its databases.

    Attributes
    ----------
    name : str
    names : list of str
        What each record is, in the order of the writer's keys: stem and version.
    writer : AlignedWriter
    encoded : iterator of Records
        Records of the portraits that the databases do not have yet, in order.
    """

    name: str
    names: list[str]
    writer: AlignedWriter
    encoded: Iterator[Records]

    def peek(self, portraits: int) -> list[Records]:
        """Records of the next portraits, up to `portraits` of them, without consuming them."""
        head = list(islice(self.encoded, portraits))
        self.encoded = chain(head, self.encoded)
        return head


@contextmanager
def open_split(
    out: Path,
    name: str,
    portraits: Sequence[Face],
    encode: RecordEncoder,
    built_from: dict,
    seed: int,
    ordered_map: OrderedMap,
) -> Iterator[Split]:
    """Open a split's databases where they were left, and begin with what they lack.

    They are finished when the block ends without an exception.

    Parameters
    ----------
    out : Path
    name : str
        One of `SPLITS`.
    portraits : sequence of Face
        In an order that `built_from` determines.
    encode : RecordEncoder
    built_from : dict
        As `AlignedWriter` takes it.
    seed : int
        Seed of the records' order.
    ordered_map : OrderedMap
        `open_workers` gives it.

    Raises
    ------
    InputError
        If there is no portrait, or the databases cannot be written.
    """
    versions = [augmentation.name for augmentation in encode.augmentations]
    names = [f"{portrait.stem} {version}" for portrait, _ in portraits for version in versions]
    keys = shuffled_keys(len(names), seed)
    with AlignedWriter(database_paths(out, name), built_from, keys) as writer:
        done = writer.stored // len(versions)
        writer.rewind(done * len(versions))
        yield Split(name, names, writer, ordered_map(encode, portraits[done:]))


def check_space(out: Path, needed: int) -> None:
    """Refuse to fill the disk.

    Raises
    ------
    InputError
        If less than `needed` bytes are free where `out` lies.
    """
    free = shutil.disk_usage(out).free
    if needed > free:
        raise InputError(
            f"{out} takes {needed / 1e9:.2f} GB more and has {free / 1e9:.2f} GB free; "
            "free some space or choose another --out."
        )


def announce_size(out: Path, splits: Sequence[Split]) -> None:
    """Estimate the databases from a few portraits, log it and check the disk.

    Raises
    ------
    InputError
        If they do not fit on the disk.
    """
    total = needed = 0
    for split in splits:
        samples = [record for records in split.peek(SAMPLED) for record in records]
        for part, path in enumerate(database_paths(out, split.name)):
            written = written_bytes(path)
            size = written
            if samples:
                size = estimate_bytes([record[part] for record in samples], len(split.names))
            total += size
            needed += max(0, size - written)
    counts = " + ".join(f"{len(split.names):,} {split.name}" for split in splits)
    logger.info("%s: %s records, about %.2f GB.", out, counts, total / 1e9)
    check_space(out, needed)


def write_records(split: Split) -> None:
    """Write what the databases lack, with a progress bar.

    A thread writes one portrait while this one waits for the next, so that nobody
    waits for the disk.

    Raises
    ------
    InputError
        If the disk is full.
    """
    progress = tqdm(
        total=len(split.names),
        initial=split.writer.rank,
        desc=f"{split.name} LMDB",
        unit="record",
    )

    def write(records: Records) -> None:
        for record in records:
            split.writer.put(record)
        progress.update(len(records))

    with progress, ThreadPoolExecutor(max_workers=1) as thread:
        writing = thread.submit(write, [])
        for records in split.encoded:
            writing.result()
            writing = thread.submit(write, records)
        writing.result()


def list_records(out: Path, split: Split) -> None:
    """Write what lies under each key, in the order of the keys."""
    lines = sorted(
        f"{key} {name}\n" for key, name in zip(split.writer.keys, split.names, strict=True)
    )
    with atomic_write(out / f"{split.name}_records.txt") as scratch:
        scratch.write_text("".join(lines))
