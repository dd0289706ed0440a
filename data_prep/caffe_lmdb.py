"""LMDBs of encoded images, as Caffe's Data layer reads them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType

import lmdb
import numpy as np
from caffe.proto import caffe_pb2

from data_prep.errors import InputError

# Address space, not disk space: the file grows with its records.
MAP_SIZE = 1 << 40
RECORDS_PER_COMMIT = 64  # bounds the pages kept in memory


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


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


class DatumWriter:
    """Writes one LMDB; use it as a context manager.

    The database is built under a temporary name beside `path` and renamed,
    in place of an older one, when the block ends without an exception.

    Parameters
    ----------
    path : Path
        Folder of the database.

    Raises
    ------
    InputError
        If nothing was written, or writing failed (disk full, no permission);
        `path` is then as it was before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scratch = path.with_name(f".{path.name}.building")
        self._count = 0

    def __enter__(self) -> DatumWriter:
        _remove(self._scratch)  # of a run that was killed
        try:
            self._scratch.mkdir(parents=True)
            # One writer under a private name needs no lock file; one sync at the
            # end replaces one for every commit.
            self._environment = lmdb.open(
                str(self._scratch), map_size=MAP_SIZE, lock=False, sync=False
            )
            self._transaction = self._environment.begin(write=True)
        except (lmdb.Error, OSError) as error:
            _remove(self._scratch)
            raise self._failure(error) from error
        return self

    def put(self, key: str, encoded: bytes) -> None:
        """Store one compressed image (JPEG or PNG file content) under a key."""
        datum = caffe_pb2.Datum(data=encoded, encoded=True, label=0)
        try:
            self._transaction.put(key.encode(), datum.SerializeToString())
            self._count += 1
            if self._count % RECORDS_PER_COMMIT == 0:
                self._transaction.commit()
                self._transaction = self._environment.begin(write=True)
        except lmdb.Error as error:
            raise self._failure(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._environment.close()
            _remove(self._scratch)

    def _finish(self) -> None:
        if self._count == 0:
            raise InputError(f"{self._path} would be empty; list at least one portrait.")
        try:
            self._transaction.commit()
            self._environment.sync(True)
            self._environment.close()
            _remove(self._path)
            os.replace(self._scratch, self._path)
        except (lmdb.Error, OSError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> InputError:
        free = shutil.disk_usage(self._nearest_folder()).free / 1e9
        return InputError(
            f"{self._path} could not be written ({error}; {free:.1f} GB free); "
            "free some space or choose another place."
        )

    def _nearest_folder(self) -> Path:
        return next(parent for parent in self._path.absolute().parents if parent.is_dir())
