"""One checkpoint as one self-describing file: a line that says what follows, JSON, safetensors, a digest over it all.

    tracewright-checkpoint 1 <plain|zlib> <bytes of JSON> <bytes of safetensors> <bytes stored>\\n
    <JSON and safetensors, as they are or each compressed by zlib>
    <SHA-256 of everything above, in hex>\\n

The digest is checked before anything is parsed, and nothing in the file can run.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pipeline.core.errors import DataError, StorageError
from pipeline.core.json_records import to_json

FORMAT = 1
SUFFIX = ".ckpt"
MAX_BYTES = 1 << 30  # of a file, and of what it holds when it is unpacked
MAX_FACTS_BYTES = 1 << 26  # of its JSON, which takes many times as much once it is read

_HEADER = re.compile(rb"tracewright-checkpoint (\d{1,9}) (plain|zlib) (\d{1,10}) (\d{1,10}) (\d{1,10})\n")
_LONGEST_HEADER = 80
_TRAILER_BYTES = 65

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """facts: anything JSON can say, and records; no NaN or infinity. arrays: any shapes and numeric types, by name."""

    facts: Mapping[str, Any]
    arrays: Arrays


def pack(checkpoint: Checkpoint, *, compress: bool) -> bytes:
    """Raises ValueError when `facts` hold what JSON cannot say, StorageError for more than could be read back."""
    facts = json.dumps(checkpoint.facts, default=to_json, allow_nan=False, separators=(",", ":")).encode()
    arrays = save({name: np.asarray(array, order="C") for name, array in checkpoint.arrays.items()})
    if excess := _too_much(len(facts), len(arrays)):
        raise StorageError(f"the state of this training {excess}; train with fewer hidden units or fewer timesteps")
    stored = zlib.compress(facts, 1) + _deflated(arrays) if compress else facts + arrays
    kind = "zlib" if compress else "plain"
    header = f"tracewright-checkpoint {FORMAT} {kind} {len(facts)} {len(arrays)} {len(stored)}\n".encode()
    body = header + stored
    return body + _trailer(body)


def unpack(content: bytes | memoryview, name: str) -> Checkpoint:
    """name: of the file, for messages. Raises DataError when anything differs from what was written."""
    header = _HEADER.match(content[:_LONGEST_HEADER])
    if header is None:
        raise DataError(f"{name}: is no checkpoint of tracewright, or its beginning is damaged; use another one")
    version, facts_bytes, arrays_bytes, stored_bytes = (int(header[n]) for n in (1, 3, 4, 5))
    expected = header.end() + stored_bytes + _TRAILER_BYTES
    if len(content) != expected:
        raise DataError(f"{name}: is damaged: {len(content)} bytes long instead of {expected}; use another one")
    body = memoryview(content)[:-_TRAILER_BYTES]
    if content[-_TRAILER_BYTES:] != _trailer(body):
        raise DataError(f"{name}: is damaged: its SHA-256 is not the one written with it; use another one")
    if version != FORMAT:
        raise DataError(f"{name}: has format {version}, this release reads {FORMAT}; use the release that wrote it")
    if excess := _too_much(facts_bytes, arrays_bytes):
        raise DataError(f"{name}: {excess}; use another one")
    return _parse(bytes(body[header.end() :]), header[2] == b"zlib", facts_bytes, arrays_bytes, name)


def _too_much(facts_bytes: int, arrays_bytes: int) -> str | None:
    if facts_bytes > MAX_FACTS_BYTES:
        return f"has {facts_bytes} bytes of JSON, allowed are {MAX_FACTS_BYTES}"
    if facts_bytes + arrays_bytes > MAX_BYTES:
        return f"takes {facts_bytes + arrays_bytes} bytes, allowed are {MAX_BYTES}"
    return None


def _parse(stored: bytes, compressed: bool, facts_bytes: int, arrays_bytes: int, name: str) -> Checkpoint:
    try:
        if compressed:
            first, rest = _inflated(stored, facts_bytes)
            second, rest = _inflated(rest, arrays_bytes)
        else:
            first, second, rest = stored[:facts_bytes], stored[facts_bytes:], b""
        if (len(first), len(second), len(rest)) != (facts_bytes, arrays_bytes, 0):
            raise ValueError("its parts are not as long as it says")
        facts = json.loads(first, parse_constant=_refuse)
        if not isinstance(facts, dict):
            raise ValueError("its facts are no object")
        return Checkpoint(facts, load(second))
    except (ValueError, KeyError, RecursionError, zlib.error, SafetensorError) as error:
        raise DataError(f"{name}: cannot be read though its SHA-256 is right ({error}); use another one") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"its facts hold {constant}")


def _deflated(arrays: bytes) -> bytes:
    """Weights repeat nothing but zeros; looking for more takes twice the time."""
    stream = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return stream.compress(arrays) + stream.flush()


def _inflated(stored: bytes, expected_bytes: int) -> tuple[bytes, bytes]:
    """The first stream, and what follows it. No more than expected, whatever a file made to burst would unpack to."""
    stream = zlib.decompressobj()
    content = stream.decompress(stored, expected_bytes + 1)
    return content, stream.unused_data


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises DataError when it cannot be read or is not what was written."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: is {size} bytes long, a checkpoint has at most {MAX_BYTES}")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); use another checkpoint") from error
    return unpack(content, str(path))


def _trailer(body: bytes | memoryview) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n"
