"""Which names a compiled library asks for and which it defines, out of its own tables: what the loader will look up, without loading.

ELF, 64 bit, little-endian: Linux on x86-64 and aarch64. Sources: the System V ABI, and glibc 2.36 elf/dl-lookup.c for the GNU hash table.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from functools import cached_property

_LOAD, _DYNAMIC = 1, 2  # p_type
_STRINGS, _SYMBOLS, _GNU_HASH = 5, 6, 0x6FFFFEF5  # d_tag
_SYMBOL = "<IBBHQQ"  # st_name, st_info, st_other, st_shndx, st_value, st_size
_WEAK = 2
_LONGEST_NAME = 1 << 16


class Library:
    """One file, mapped. Raises OSError where it cannot be opened, ValueError where it is not such a file or its tables do not add up."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path} is not a 64-bit little-endian ELF file")
        start, size, count = *self._read("<Q", 32), *self._read("<HH", 54)
        self._headers = [self._read("<IIQQQQ", start + size * number) for number in range(count)]
        tags = dict(self._dynamic())
        if not {_STRINGS, _SYMBOLS, _GNU_HASH} <= set(tags):
            raise ValueError(f"{path} lacks a symbol table with a GNU hash")
        self._strings, self._symbols, self._hash = (self._offset(tags[tag]) for tag in (_STRINGS, _SYMBOLS, _GNU_HASH))
        self._buckets, self._first, self._words, self._shift = self._read("<IIII", self._hash)
        if not self._buckets or not self._words:
            raise ValueError(f"{path} has an empty hash table")

    def _read(self, form: str, offset: int) -> tuple[int, ...]:
        if offset + struct.calcsize(form) > len(self._data):
            raise ValueError(f"a table lies outside of the file, at {offset:#x}")
        return struct.unpack_from(form, self._data, offset)

    def _offset(self, address: int) -> int:
        """Where in the file lies what will be at this address."""
        for kind, _, offset, virtual, _, size in self._headers:
            if kind == _LOAD and virtual <= address < virtual + size:
                return offset + address - virtual
        raise ValueError(f"no segment holds the address {address:#x}")

    def _dynamic(self) -> Iterator[tuple[int, int]]:
        for kind, _, offset, _, _, size in self._headers:
            if kind == _DYNAMIC:
                for at in range(offset, offset + size, 16):
                    tag, value = self._read("<QQ", at)
                    yield tag, value

    def _symbol(self, number: int) -> tuple[bytes, bool, bool]:
        """A name, whether it is defined here, and whether it may stay undefined."""
        name, info, _, section, _, _ = self._read(_SYMBOL, self._symbols + number * struct.calcsize(_SYMBOL))
        at = self._strings + name
        end = self._data.find(b"\0", at, at + _LONGEST_NAME)
        if end < 0:
            raise ValueError(f"the name of symbol {number} does not end")
        return self._data[at:end], section != 0, info >> 4 == _WEAK

    @cached_property
    def asks_for(self) -> tuple[bytes, ...]:
        """The names that another library has to define. They stand before the ones that the hash table lists."""
        symbols = (self._symbol(number) for number in range(1, self._first))
        return tuple(name for name, defined, weak in symbols if name and not defined and not weak)

    def defines(self, name: bytes) -> bool:
        """Whether the loader would find this name here."""
        hashed = _gnu_hash(name)
        (word,) = self._read("<Q", self._hash + 16 + 8 * (hashed // 64 % self._words))
        if not (word >> hashed % 64 & 1 and word >> (hashed >> self._shift) % 64 & 1):
            return False
        buckets = self._hash + 16 + 8 * self._words
        (number,) = self._read("<I", buckets + 4 * (hashed % self._buckets))
        while number >= self._first:
            (other,) = self._read("<I", buckets + 4 * self._buckets + 4 * (number - self._first))
            if other | 1 == hashed | 1:
                found, defined, _ = self._symbol(number)
                if found == name and defined:
                    return True
            if other & 1:
                return False
            number += 1
        return False


def _gnu_hash(name: bytes) -> int:
    hashed = 5381
    for byte in name:
        hashed = (hashed * 33 + byte) & 0xFFFFFFFF
    return hashed
