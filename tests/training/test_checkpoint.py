import hashlib
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from pipeline.core.errors import DataError, StorageError
from pipeline.training.checkpoint import MAX_BYTES, MAX_FACTS_BYTES, Checkpoint, pack, read_checkpoint, unpack

SMALL = Checkpoint({"summary": {"timesteps": 7}}, {"weights": np.arange(6, dtype=np.float32).reshape(2, 3)})

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**200), 2**200)
facts = st.dictionaries(
    st.text(), st.recursive(numbers | st.text() | st.none() | st.booleans(), st.lists, max_leaves=8)
)
shapes = arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4)
tensors = st.dictionaries(
    st.text(min_size=1, max_size=9).filter(lambda name: name != "__metadata__"),
    arrays_of.arrays(st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_, np.uint32]), shapes),
    max_size=4,
)


@given(facts, tensors, st.booleans())
def test_what_is_written_comes_back_to_the_bit(known: dict[str, Any], arrays: dict[str, Any], compress: bool) -> None:
    back = unpack(pack(Checkpoint(known, arrays), compress=compress), "x")
    assert back.facts == known
    assert back.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back.arrays[name].dtype == array.dtype
        assert back.arrays[name].shape == array.shape
        assert back.arrays[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("compress", [False, True])
def test_every_bit_that_flips_is_noticed(compress: bool) -> None:
    content = bytearray(pack(SMALL, compress=compress))
    for position in range(8 * len(content)):
        content[position // 8] ^= 1 << position % 8
        with pytest.raises(DataError, match=r"the\.ckpt"):
            unpack(bytes(content), "the.ckpt")
        content[position // 8] ^= 1 << position % 8
    unpack(bytes(content), "the.ckpt")


def test_every_missing_end_and_every_added_byte_is_noticed() -> None:
    content = pack(SMALL, compress=False)
    for length in range(len(content)):
        with pytest.raises(DataError, match=r"the\.ckpt"):
            unpack(content[:length], "the.ckpt")
    with pytest.raises(DataError, match="bytes long instead of"):
        unpack(content + b"\n", "the.ckpt")


def sealed(kind: str, stored: bytes, facts_bytes: int, arrays_bytes: int, version: int = 1) -> bytes:
    """A file whose digest is right, whatever is in it."""
    body = f"tracewright-checkpoint {version} {kind} {facts_bytes} {arrays_bytes} {len(stored)}\n".encode() + stored
    return body + hashlib.sha256(body).hexdigest().encode() + b"\n"


NESTED = b"[" * 200_000
HUGE_HEADER = b"{}" + (100_000_000).to_bytes(8, "little") + b"{"
EMPTY = b"\x02\0\0\0\0\0\0\0{}"
HOSTILE = {
    "facts that are no object": sealed("plain", b"[]" + b"\x02\0\0\0\0\0\0\0{}", 2, 10),
    "facts that are no JSON": sealed("plain", b"{" + b"\x02\0\0\0\0\0\0\0{}", 1, 10),
    "facts nested deeply": sealed("plain", NESTED, len(NESTED), 0),
    "a header of 100 MB that is not there": sealed("plain", HUGE_HEADER, 2, len(HUGE_HEADER) - 2),
    "a pickle for weights": sealed("plain", b"{}" + b"\x80\x04cos\nsystem\n(S'true'\ntR.", 2, 24),
    "something that unpacks to far more": sealed("zlib", zlib.compress(bytes(50_000_000)), 2, 10),
    "something that is not compressed": sealed("zlib", b"{}{}", 2, 2),
    "more than is allowed": sealed("plain", b"{}", 2, MAX_BYTES),
    "more JSON than is allowed": sealed("plain", b"{}", MAX_FACTS_BYTES + 1, 0),
    "what is no number": sealed("plain", b'{"a":NaN}' + EMPTY, 9, 10),
    "something behind the end": sealed("zlib", zlib.compress(b"{}") + zlib.compress(EMPTY) + b"x", 2, 10),
    "another format": sealed("plain", b"{}\x02\0\0\0\0\0\0\0{}", 2, 10, version=2),
    "an SB3 zip": b"PK\x03\x04" + bytes(300),
    "nothing": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(DataError) as raised:
        unpack(content, "the.ckpt")
    assert str(raised.value).startswith("the.ckpt: ")
    assert raised.value.exit_code == 65


@pytest.mark.parametrize(("facts_bytes", "arrays_bytes"), [(2, MAX_BYTES), (MAX_FACTS_BYTES + 1, 0)])
def test_what_says_that_it_is_too_large_is_not_unpacked(facts_bytes: int, arrays_bytes: int) -> None:
    with pytest.raises(DataError, match="allowed are"):
        unpack(sealed("zlib", zlib.compress(b"{}"), facts_bytes, arrays_bytes), "the.ckpt")


@pytest.mark.parametrize("part", ["facts", "arrays"])
def test_no_more_is_unpacked_than_it_says(part: str) -> None:
    burst = zlib.compress(bytes(30_000_000))
    stored = burst if part == "facts" else zlib.compress(b"{}") + burst
    content = sealed("zlib", stored, 2, 10)
    tracemalloc.start()
    with pytest.raises(DataError, match="not as long as it says"):
        unpack(content, "the.ckpt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_state_that_could_not_be_read_back_is_not_written() -> None:
    with pytest.raises(StorageError, match="bytes of JSON, allowed are"):
        pack(Checkpoint({"much": "x" * MAX_FACTS_BYTES}, {}), compress=False)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    sparse = tmp_path / "large.ckpt"
    with sparse.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match="a checkpoint has at most"):
        read_checkpoint(sparse)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.ckpt: cannot be read"):
        read_checkpoint(tmp_path / "gone.ckpt")


def test_a_value_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        pack(Checkpoint({"value": float("nan")}, {}), compress=False)


def test_it_says_what_it_is_to_whoever_looks() -> None:
    first, rest = pack(SMALL, compress=False).split(b"\n", 1)
    assert first.startswith(b"tracewright-checkpoint 1 plain ")
    assert json.loads(rest[: int(first.split()[3])]) == SMALL.facts
