"""Files in pieces of a limited size, and weights in half precision."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from tools.matting.caffe_net import Weights, read_caffemodel


class PieceWriter(io.RawIOBase):
    """A stream that is written to ``NAME.00``, ``NAME.01`` and so on.

    Parameters
    ----------
    path : Path
        ``NAME``; pieces of an earlier file of this name are removed.
    most_bytes : int
        Of a piece.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        if most_bytes < 1:
            raise InputError(f"A piece of {most_bytes} bytes holds nothing; allow more.")
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in pieces_of(path):
            old.unlink()
        self._path, self._most = path, most_bytes
        self._piece = open(self._name(0), "wb")  # noqa: SIM115  (until `close`)
        self.pieces = [self._name(0)]

    def _name(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number:02d}")

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, content) -> int:
        """Append bytes; returns their number."""
        rest = memoryview(content).cast("B")
        while len(rest):
            room = self._most - self._piece.tell()
            if room == 0:
                self._piece.close()
                self.pieces.append(self._name(len(self.pieces)))
                self._piece = open(self.pieces[-1], "wb")  # noqa: SIM115
                continue
            self._piece.write(rest[:room])
            rest = rest[room:]
        return len(memoryview(content).cast("B"))

    def close(self) -> None:
        """End the last piece."""
        self._piece.close()
        super().close()


def pieces_of(path: Path) -> list[Path]:
    """The pieces of a file that exist, in order."""
    found = path.parent.glob(f"{path.name}.*")
    return sorted((each for each in found if each.suffix[1:].isdecimal()), key=_number)


def _number(piece: Path) -> int:
    return int(piece.suffix[1:])


def write_in_pieces(path: Path, content: bytes, most_bytes: int) -> list[Path]:
    """Write bytes as pieces; returns their paths."""
    with PieceWriter(path, most_bytes) as writer:
        writer.write(content)
    return writer.pieces


def joined(pieces: Sequence[Path]) -> bytes:
    """Content of a file from its pieces, in order."""
    return b"".join(piece.read_bytes() for piece in pieces)


def write_sums(path: Path, pieces: Sequence[Path]) -> None:
    """Write what ``sha256sum --check`` reads, a line for each piece, in their order."""
    with atomic_write(path) as scratch:
        scratch.write_text("".join(f"{sha256_of(each)}  {each.name}\n" for each in pieces))


def half_weights(caffemodel: Path) -> bytes:
    """Weights in float16, as a compressed ``.npz``: a fourth of the caffemodel or less.

    What is larger than float16 holds (65504) becomes its largest number; what is smaller
    than 6e-8 becomes 0.
    """
    limit = np.finfo(np.float16).max
    arrays = {
        f"{layer}/{index}": np.clip(blob, -limit, limit).astype(np.float16)
        for layer, blobs in read_caffemodel(caffemodel).items()
        for index, blob in enumerate(blobs)
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # stubs: allow_pickle
    return stream.getvalue()


def weights_of_half(half: bytes) -> Weights:
    """The weights that `half_weights` has packed, in float16.

    Raises
    ------
    InputError
        If the bytes are no such weights.
    """
    weights: Weights = {}
    try:
        with np.load(io.BytesIO(half)) as arrays:
            for key in arrays.files:
                weights.setdefault(key.rpartition("/")[0], []).append(arrays[key])
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"These are no weights in float16 ({error}); pack them again.") from None
    return weights
