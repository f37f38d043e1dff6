"""JSON of other people: a value, or a reason; whatever the bytes are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_preflight.json_files import MAX_DEPTH, Unreadable, parse_json, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def file_of(folder: Path, data: bytes) -> str:
    """The path of a file that holds these bytes."""
    path = folder / "some.json"
    path.write_bytes(data)
    return str(path)


@given(VALUES)
def test_a_persons_file_is_read_in_every_unicode(value: Any) -> None:
    """As editors and PowerShell save it: with or without a byte order mark, in 8 or 16 bits."""
    text = json.dumps(value)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json(text.encode(encoding)) == value


@given(data=st.binary() | st.text().map(str.encode) | VALUES.map(json.dumps).map(str.encode).map(lambda data: data[:-1]))
@settings(max_examples=300)
def test_any_bytes_are_a_value_or_a_reason(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """One line of a reason, and no other exception."""
    path = file_of(tmp_path_factory.getbasetemp(), data)
    for own in (True, False):
        reason = "read"
        try:
            read_json(path, own=own)
        except Unreadable as unreadable:
            reason = str(unreadable)
        assert reason
        assert "\n" not in reason


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a": [1], "b":'])
def test_nesting_beyond_reason_is_refused(tmp_path: Path, own: bool, opening: str) -> None:
    """Deeper than any file is, and deeper than Python's own limit (400 KB of brackets)."""
    closing = "".join({"[": "]", "{": "}"}[sign] for sign in reversed(opening) if sign in "[{") if opening.count("[") < 2 else "}]"
    for depth in (MAX_DEPTH + 1, 950, 400_000 // len(opening)):
        text = opening * depth + "1" + closing * depth
        with pytest.raises(Unreadable, match="nested too deep"):
            read_json(file_of(tmp_path, text.encode()), own=own)


def test_what_is_nested_within_reason_is_read(tmp_path: Path) -> None:
    """The limit is not met by accident."""
    text = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert read_json(file_of(tmp_path, text.encode())) is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param('{"a": 1, "b": 2, "a": 3}', '"a" is said twice', id="a name that is said twice"),
        pytest.param('[{"b": {"c": 1, "c": 1}}]', '"c" is said twice', id="further in, though the values agree"),
        pytest.param('{"a": NaN}', "NaN is no number of JSON", id="NaN"),
        pytest.param('{"a": -Infinity}', "-Infinity is no number of JSON", id="infinity"),
    ],
)
def test_slips_in_a_persons_own_file_are_named(tmp_path: Path, text: str, reason: str) -> None:
    """In a checkpoint's file they count as transformers' json.load reads them: the last wins, infinity is a number."""
    path = file_of(tmp_path, text.encode())
    with pytest.raises(Unreadable, match=reason):
        read_json(path)
    assert read_json(path, own=False) is not None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_a_checkpoints_file_is_utf_8_and_nothing_else(tmp_path: Path, encoding: str) -> None:
    """transformers opens it with encoding="utf-8", and json.loads refuses a byte order mark."""
    with pytest.raises(Unreadable):
        read_json(file_of(tmp_path, '{"name": "Müller"}'.encode(encoding)), own=False)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A folder, a pipe without a writer, a device without an end."""
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "a pipe or a device"),
        (Path("/dev/zero"), "a pipe or a device"),
    ):
        with pytest.raises(Unreadable, match=reason):
            read_json(str(path))


def test_a_file_that_is_far_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is said."""
    monkeypatch.setattr("qvl_preflight.json_files.MAX_BYTES", 5_000_000)
    (tmp_path / "some.json").touch()
    os.truncate(tmp_path / "some.json", 5_000_001)
    with pytest.raises(Unreadable, match="longer than 5 MB"):
        read_json(str(tmp_path / "some.json"))
