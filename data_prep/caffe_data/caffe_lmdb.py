"""LMDBs of encoded images, as Caffe's Data layer reads them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import lmdb
import numpy as np

from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write, remove_leftovers

#: What a database was made from; Caffe reads data.mdb and lock.mdb only.
MANIFEST = "manifest.json"

# Address space, not disk space: the file grows with its records.
MAP_SIZE = 1 << 40
PAGE = 4096
PAGE_HEADER = 16
TREE_SHARE = 0.02  # of the pages hold keys
RECORDS_PER_COMMIT = 32  # bounds the pages in memory, and what a kill loses


def shuffled_keys(count: int, seed: int) -> list[str]:
    """Zero-padded keys 0 .. count-1 in a random order.

    Caffe reads a database in the order of its keys: records written under
    these keys, one after the other, are read shuffled.  Databases that share
    the keys stay aligned.

    Parameters
    ----------
    count : int
    seed : int

    Returns
    -------
    list of str
        Eight digits each.
    """
    return [f"{rank:08d}" for rank in np.random.default_rng(seed).permutation(count)]


def _value(encoded: bytes) -> bytes:
    # Imported here: pycaffe loads for a second, and worker processes, which import
    # this module with the program's, do not write.
    from caffe.proto import caffe_pb2

    return caffe_pb2.Datum(data=encoded, encoded=True, label=0).SerializeToString()


def datum_of_numbers(numbers: np.ndarray) -> bytes:
    """Serialized Datum of n float32 numbers, which Caffe reads as N x n x 1 x 1."""
    from caffe.proto import caffe_pb2

    values = np.asarray(numbers, np.float32).tolist()
    return caffe_pb2.Datum(
        channels=len(values), height=1, width=1, float_data=values, label=0
    ).SerializeToString()


def estimate_bytes(samples: Sequence[bytes], count: int) -> int:
    """Size of a database of `count` records like these encoded images."""
    pages = [-(-(len(_value(sample)) + PAGE_HEADER) // PAGE) for sample in samples]
    return round(PAGE * np.mean(pages) * (1 + TREE_SHARE) * count)


def read_manifest(database: Path) -> dict:
    """What `DatumWriter` noted inside a database; empty where there is nothing."""
    try:
        return json.loads((database / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}


def is_complete(database: Path, built_from: dict) -> bool:
    """Whether a finished database was made from this, and is as it was then."""
    manifest = read_manifest(database)
    try:
        size = (database / "data.mdb").stat().st_size
    except OSError:
        return False
    return manifest.get("built_from") == built_from and manifest.get("bytes") == size


@contextmanager
def open_database(path: Path, command: str = "make data") -> Iterator[lmdb.Environment]:
    """A database for reading, closed at the end.

    Parameters
    ----------
    path : Path
        Its folder.
    command : str
        What writes it, for messages.

    Raises
    ------
    InputError
        If there is none, it cannot be opened or read, or its file is shorter than what it holds:
        reading beyond the end would kill the process.
    """
    remedy = f"write the databases with `{command}`"
    file = path / "data.mdb"
    if not file.is_file():
        raise InputError(f"{path} does not exist; {remedy}.")
    size, expected = file.stat().st_size, read_manifest(path).get("bytes")
    if expected is not None and size != expected:
        raise InputError(f"{file} has {size} bytes instead of {expected}; {remedy} again.")
    try:
        database = lmdb.open(str(path), readonly=True, lock=False)
    except lmdb.Error as error:
        raise InputError(f"{path} cannot be opened ({error}); {remedy} again.") from error
    if expected is None:  # not written by `DatumWriter`, or before it noted the size
        expected = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
        if size < expected:
            database.close()
            raise InputError(f"{file} is cut short ({size} of {expected} bytes); {remedy} again.")
    try:
        with database:
            yield database
    except lmdb.Error as error:
        # Of several that are open, it does not say which.
        raise InputError(
            f"A database in {path.parent} is damaged ({error}); write them again with `{command}`."
        ) from error


def scratch_path(database: Path) -> Path:
    """Where a database is while it is being built."""
    return database.with_name(f".{database.name}.building")


def written_bytes(database: Path) -> int:
    """Size of a database as far as it is written; 0 where nothing is."""
    for folder in (scratch_path(database), database):
        path = folder / "data.mdb"
        if path.is_file():
            return path.stat().st_size
    return 0


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


class DatumWriter:
    """Writes one LMDB; use it as a context manager.

    The database is built under a temporary name beside `path` and renamed, in
    place of an older one, by `finish`.  What was committed before a kill, a
    full disk or an exception stays under the temporary name, and the next
    writer of the same continues from there.

    Parameters
    ----------
    path : Path
        Folder of the database.
    built_from : dict
        What the content depends on, as JSON holds it.  An unfinished database
        made from anything else is thrown away.
    count : int
        How many records there will be.

    Raises
    ------
    InputError
        If writing failed (disk full, no permission); `path` is then as it was
        before.
    """

    def __init__(self, path: Path, built_from: dict, count: int) -> None:
        self._path = path
        self._scratch = scratch_path(path)
        self._manifest = {"built_from": built_from, "records": count}
        self._environment: lmdb.Environment | None = None
        self._transaction: lmdb.Transaction | None = None
        self._stored = 0

    def __enter__(self) -> DatumWriter:
        if is_complete(self._path, self._manifest["built_from"]):
            self._stored = self._manifest["records"]
            return self
        unfinished = read_manifest(self._scratch).get("built_from")
        try:
            if unfinished != self._manifest["built_from"]:
                _remove(self._scratch)
                self._scratch.mkdir(parents=True)
                self._write_manifest()
            # One writer under a private name needs no lock file.  Without metasync a
            # commit waits for the disk once, not twice: a power cut may undo the last
            # one, and harms nothing.
            self._environment = lmdb.open(
                str(self._scratch), map_size=MAP_SIZE, lock=False, metasync=False
            )
            self._stored = self._environment.stat()["entries"]
            self._transaction = self._environment.begin(write=True)
        except (lmdb.Error, OSError) as error:
            raise self._failure(error) from error
        return self

    @property
    def stored(self) -> int:
        """Records that were in the database when it was opened, in the order of `put`."""
        return self._stored

    def put(self, key: str, encoded: bytes) -> None:
        """Store one compressed image (JPEG or PNG file content) under a key."""
        self.put_value(key, _value(encoded))

    def put_value(self, key: str, value: bytes) -> None:
        """Store a serialized Datum under a key."""
        if self._environment is None:  # finished before
            return
        try:
            self._transaction.put(key.encode(), value)
        except lmdb.Error as error:
            raise self._failure(error) from error

    def commit(self) -> None:
        """Bring what was put so far onto the disk."""
        if self._environment is None:
            return
        # A failed commit ends the transaction, too.
        transaction, self._transaction = self._transaction, None
        try:
            transaction.commit()
            self._transaction = self._environment.begin(write=True)
        except lmdb.Error as error:
            raise self._failure(error) from error

    def finish(self) -> None:
        """Give the database its name.

        Raises
        ------
        ValueError
            If it does not have the announced number of records.
        InputError
            As above.
        """
        if self._environment is None:
            return
        self.commit()
        entries = self._environment.stat()["entries"]
        if entries != self._manifest["records"]:
            raise ValueError(f"{self._path} has {entries} records, not {self._manifest}")
        self._transaction.abort()
        self._environment.close()
        self._environment = None
        try:
            self._manifest["bytes"] = (self._scratch / "data.mdb").stat().st_size
            self._write_manifest()
            remove_leftovers(self._scratch / MANIFEST)
            _remove(self._path)
            os.replace(self._scratch, self._path)
        except (lmdb.Error, OSError) as error:
            raise self._failure(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._environment is not None:
            if self._transaction is not None:
                self._transaction.abort()
            self._environment.close()

    def _write_manifest(self) -> None:
        with atomic_write(self._scratch / MANIFEST) as scratch:
            scratch.write_text(json.dumps(self._manifest))

    def _failure(self, error: Exception) -> InputError:
        free = shutil.disk_usage(self._nearest_folder()).free / 1e9
        return InputError(
            f"{self._path} could not be written ({error}; {free:.1f} GB free); "
            "free some space and run the command again, or choose another place."
        )

    def _nearest_folder(self) -> Path:
        return next(parent for parent in self._path.absolute().parents if parent.is_dir())


class AlignedWriter:
    """Writes several LMDBs in step, record by record; use it as a context manager.

    Each record goes to all of them under one key.  They get their names when
    the block ends without an exception and all records are there.

    Parameters
    ----------
    paths : sequence of Path
    built_from : dict
        As `DatumWriter` takes it.
    keys : sequence of str
        In the order in which the records will be put.

    Attributes
    ----------
    keys : sequence of str
    rank : int
        Rank of the record that is put next.

    Raises
    ------
    InputError
        If there are no keys, or as `DatumWriter`.
    """

    def __init__(self, paths: Sequence[Path], built_from: dict, keys: Sequence[str]) -> None:
        if len(keys) == 0:
            raise InputError(f"{paths[0]} would be empty; list at least one portrait.")
        self.keys = keys
        self._writers = [DatumWriter(path, built_from, len(keys)) for path in paths]
        self._stack = ExitStack()
        self.rank = 0

    def __enter__(self) -> AlignedWriter:
        with ExitStack() as stack:
            for writer in self._writers:
                stack.enter_context(writer)
            self._stack = stack.pop_all()
        self.rank = self.stored
        return self

    @property
    def stored(self) -> int:
        """How many of the first records all databases had when they were opened.

        A kill between two commits leaves one database ahead of another: what
        it has more is written again, the same under the same keys.
        """
        return min(writer.stored for writer in self._writers)

    def rewind(self, rank: int) -> None:
        """Put the record of this rank next; 0 is the first."""
        self.rank = rank

    def put(self, encoded: Sequence[bytes]) -> None:
        """Store one record: an image for each database."""
        key = self.keys[self.rank]
        for writer, image in zip(self._writers, encoded, strict=True):
            writer.put(key, image)
        self.rank += 1
        if self.rank % RECORDS_PER_COMMIT == 0:
            for writer in self._writers:
                writer.commit()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            if kind is None:
                # All are on the disk before the first one gets its name.
                for writer in self._writers:
                    writer.commit()
                for writer in self._writers:
                    writer.finish()


def copy_records(source: Path, target: Path, first: int, count: int) -> None:
    """Write a database of consecutive records of another, in the order in which Caffe reads them.

    Parameters
    ----------
    source, target : Path
        Folders of the databases; an older `target` is replaced.
    first : int
        Number of the first record, from 0.  After the last record of `source` come its first
        ones again, as in a training.
    count : int

    Raises
    ------
    InputError
        If `source` cannot be opened or is empty, or writing failed.
    """
    with open_database(source) as database, database.begin() as transaction:
        with transaction.cursor() as cursor:
            keys = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
        if not keys:
            raise InputError(f"{source} is empty; write the databases with `make data`.")
        # A copy that was killed is not continued: it may have had another length or source.
        for old in (target, scratch_path(target)):
            _remove(old)
        about = {"records_of": str(source), "first": first}
        with DatumWriter(target, about, count) as writer:
            for rank in range(count):
                value = transaction.get(keys[(first + rank) % len(keys)])
                writer.put_value(f"{rank:08d}", value)
            writer.finish()
