"""What a compiled library asks for and defines, against real libraries and against broken ones."""

from __future__ import annotations

import ctypes
import random
import sys
from pathlib import Path

import pytest

from elf_files import library
from qvl_preflight.probes.elf import Library


def real_extensions() -> list[Path]:
    """Compiled modules of this Python and of what is installed beside it."""
    folders = [Path(folder) for folder in sys.path if Path(folder).is_dir()]
    return [file for folder in folders for file in sorted(folder.glob("*.cpython-*.so"))][:30]


@pytest.mark.skipif(sys.platform != "linux", reason="ELF is the format of Linux")
def test_real_extensions_define_their_entry_and_ask_python() -> None:
    """The import machinery looks for PyInit_NAME; the rest of CPython's names they take from the interpreter."""
    extensions = real_extensions()
    assert extensions
    for path in extensions:
        read = Library(str(path))
        name = path.name.partition(".")[0].encode()
        assert read.defines(b"PyInit_" + name), path
        assert not read.defines(b"PyInit_nothing_of_that_name")
        assert any(wanted.startswith((b"Py", b"_Py")) for wanted in read.asks_for), path


@pytest.mark.skipif(sys.platform != "linux", reason="ELF is the format of Linux")
def test_the_loader_agrees(tmp_path: Path) -> None:
    """Names that the C library is found to define are those that the loader finds, and no other."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        path = next(line.split()[-1] for line in maps if "libc.so" in line or "libc-2" in line or "ld-musl" in line)
    read, loaded = Library(path), ctypes.CDLL(path)
    for name in ("malloc", "printf", "strlen", "no_such_name", "Malloc"):
        assert read.defines(name.encode()) == hasattr(loaded, name), name


def test_names_are_told_apart(tmp_path: Path) -> None:
    """Asked for, weakly asked for (may stay undefined), and defined."""
    path = tmp_path / "it.so"
    path.write_bytes(library([b"one", b"two"], [b"asked", b"also"], [b"maybe"]))
    read = Library(str(path))
    assert read.asks_for == (b"asked", b"also")
    assert [read.defines(name) for name in (b"one", b"two", b"asked", b"maybe", b"three")] == [True, True, False, False, False]


def test_broken_files_are_refused(tmp_path: Path) -> None:
    """Cut off anywhere, or with bytes changed: ValueError or an answer, never anything else, and never without end."""
    whole = library([b"one", b"two"], [b"asked"])
    path = tmp_path / "it.so"
    variants = [whole[:length] for length in range(1, len(whole))]
    chance = random.Random(7)
    for _ in range(2000):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        variants.append(bytes(changed))
    refused = 0
    for content in variants:
        path.write_bytes(content)
        try:
            read = Library(str(path))
            assert isinstance(read.asks_for, tuple)
            assert read.defines(b"three") in (True, False)
        except ValueError:
            refused += 1
    assert refused > len(whole) // 2


@pytest.mark.parametrize("content", [b"", b"MZ", b"\x7fELF\x01\x01" + b"\0" * 60, b"\x7fELF\x02\x02" + b"\0" * 60])
def test_other_formats_are_refused(tmp_path: Path, content: bytes) -> None:
    """Windows, 32 bit, big-endian, and nothing at all."""
    path = tmp_path / "it.so"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ELF|empty"):
        Library(str(path))
