"""Headers of many shards: how much longer than reading and parsing them alone, and what is kept of them. The seconds are those of benchmarks/headers.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import headers

sys.path.pop(0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Of 100 shards with 30 tensors each, and of three times as many."""
    root = tmp_path_factory.mktemp("headers")
    return {shards: headers.made(root / str(shards), shards, 30) for shards in (100, 300)}


@pytest.mark.slow
def test_reading_headers_takes_little_longer_than_parsing_them(folders: dict[int, str]) -> None:
    """About twice as long; in processor time, since a busy machine has less of the other."""
    took = headers.seconds(lambda: headers.read_files(folders[300], headers.CHOICE), 5)
    assert took < 5 * headers.seconds(lambda: headers.floor(folders[300]), 5)


@pytest.mark.slow
def test_memory_and_time_grow_with_the_number_of_shards(folders: dict[int, str]) -> None:
    """Three times as many shards, and no more than that."""
    few, many = (headers.kept(folders[shards]) for shards in (100, 300))
    assert many < 3.5 * few
    assert many < 2000 * 300 * 30  # 2 KB a tensor
    few, many = (headers.seconds(lambda at=at: headers.read_files(folders[at], headers.CHOICE), 5) for at in (100, 300))
    assert many < 6 * few


@pytest.mark.slow
def test_each_file_is_opened_once(folders: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network drive opening costs more than all the rest."""
    import builtins

    opened: list[str] = []
    plain = builtins.open
    monkeypatch.setattr(builtins, "open", lambda path, *rest, **more: (opened.append(str(path)), plain(path, *rest, **more))[1])
    headers.read_files(folders[100], headers.CHOICE)
    assert len(opened) == len(set(opened)) == 101
