"""Safetensors headers: read alone, judged complete or not, and refused in one line where they are none."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_preflight.exceptions import InputError
from qvl_preflight.safetensors import MAX_HEADER_BYTES, Header, Tensor, read_header
from qvl_preflight.testing import write_safetensors

WEIGHTS = {"model.embed.weight": ("BF16", (8, 4)), "model.scale": ("F32", ()), "model.qweight": ("I32", (2, 3))}


def write(path: Path, header: bytes | Any, body: int = 0, length: int | None = None) -> str:
    """A file of this header, with ``body`` bytes after it; ``length`` lies about the header's."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(body))
    return str(path)


def test_a_header_tells_its_tensors(tmp_path: Path) -> None:
    """Names, dtypes and shapes as they stand, bytes by the offsets; metadata is no tensor."""
    path = str(tmp_path / "model.safetensors")
    write_safetensors(path, WEIGHTS)
    assert read_header(path) == Header(
        (
            Tensor("model.embed.weight", "BF16", (8, 4), 64),
            Tensor("model.scale", "F32", (), 4),
            Tensor("model.qweight", "I32", (2, 3), 24),
        ),
        lacking_bytes=0,
    )


def test_a_file_without_tensors_is_complete(tmp_path: Path) -> None:
    """An empty header is a header."""
    assert read_header(write(tmp_path / "x", {"__metadata__": {"format": "pt"}})) == Header((), 0)


@pytest.mark.parametrize("lacking", [0, 1, 91, 92])
def test_a_short_file_lacks_exactly_so_many_bytes(tmp_path: Path, lacking: int) -> None:
    """A download that stopped is told by the byte, whatever the order of the tensors."""
    header = {
        "b": {"dtype": "U8", "shape": [60], "data_offsets": [32, 92]},
        "a": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]},
    }
    assert read_header(write(tmp_path / "x", header, body=92 - lacking)).lacking_bytes == lacking


def test_bytes_beyond_the_last_tensor_are_not_lacking(tmp_path: Path) -> None:
    """A file that is longer than it needs to be lacks nothing."""
    header = {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}
    assert read_header(write(tmp_path / "x", header, body=100)).lacking_bytes == 0


def refused(path: str) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "a header of 0 bytes in a file of 0", id="an empty file"),
        pytest.param(b"\x01\x00", "in a file of 2", id="shorter than the length itself"),
        pytest.param(struct.pack("<Q", 500) + b"{}", "a header of 500 bytes in a file of 10", id="cut off within the header"),
        pytest.param(struct.pack("<Q", 4 << 30) + b"{}", "a header of 4294967296 bytes in a file of 10", id="a header of 4 GiB in a small file"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "download it again", id="a pointer of git-lfs"),
        pytest.param(b"<!DOCTYPE html><html>Access denied</html>", "download it again", id="a page that a proxy sent instead"),
    ],
)  # fmt: skip
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The message names the file, both sizes, and what to do."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert message in refused(str(path))
    assert "download it again" in refused(str(path))


def test_a_header_beyond_the_cap_is_refused_unread(tmp_path: Path) -> None:
    """Even where the file is large enough, a header that the format forbids is not taken into memory."""
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        file.truncate(2 * MAX_HEADER_BYTES)
    tracemalloc.start()
    try:
        message = refused(str(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "a header of 100000001 bytes" in message
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"{not json}", id="no JSON"),
        pytest.param(b"\xff\xfe\x00\x00", id="no UTF-8"),
        pytest.param(b"[" * 100_000, id="nested beyond reason"),
    ],
)
def test_a_header_that_is_no_json_is_refused(tmp_path: Path, header: bytes) -> None:
    """A damaged header is said to be one."""
    assert "the safetensors header is not JSON" in refused(write(tmp_path / "x", header))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param([], id="a list"),
        pytest.param(5, id="a number"),
        pytest.param({"a": None}, id="a tensor that is null"),
        pytest.param({"a": {"dtype": "F16", "shape": [1]}}, id="without data_offsets"),
        pytest.param({"a": {"dtype": "F16", "data_offsets": [0, 2]}}, id="without shape"),
        pytest.param({"a": {"shape": [1], "data_offsets": [0, 2]}}, id="without dtype"),
        pytest.param({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0]}}, id="one offset"),
        pytest.param({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, None]}}, id="an offset that is null"),
        pytest.param({"a": {"dtype": "F16", "shape": [1], "data_offsets": ["0", "2"]}}, id="offsets that are texts"),
        pytest.param({"a": {"dtype": "F16", "shape": [1], "data_offsets": [8, 2]}}, id="an end before its start"),
        pytest.param({"a": {"dtype": "F16", "shape": ["x"], "data_offsets": [0, 2]}}, id="a shape of words"),
        pytest.param({"a": {"dtype": "F16", "shape": [float("inf")], "data_offsets": [0, 2]}}, id="a shape without end"),
        pytest.param({"a": {"dtype": 16, "shape": [1], "data_offsets": [0, 2]}}, id="a dtype that is a number"),
    ],
)
def test_a_tensor_that_is_not_described_is_refused(tmp_path: Path, header: Any) -> None:
    """JSON of another shape than a header's is a damaged file, not a crash of ours and not a tensor."""
    assert "lacks dtype, shape or data_offsets" in refused(write(tmp_path / "x", header))


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, kind: str) -> None:
    """The system's own words are in the message."""
    path = tmp_path / "model.safetensors"
    if kind == "folder":
        path.mkdir()
    assert "cannot be read" in refused(str(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "dtype", "shape", "data_offsets"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=64)
    | JSON.map(lambda value: (raw := json.dumps(value).encode()) and struct.pack("<Q", len(raw)) + raw)
)
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the bytes are: a header, or InputError."""
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(content)
    try:
        header = read_header(str(path))
    except InputError:
        return
    assert header.lacking_bytes >= 0
    assert all(tensor.total_bytes >= 0 for tensor in header.tensors)
