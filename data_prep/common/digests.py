"""Digests of files and of JSON values."""

from __future__ import annotations

import hashlib
import json
from hashlib import sha256
from pathlib import Path
from typing import Any


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def content_key(*parts: Any) -> str:
    """Digest of anything that JSON holds."""
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
