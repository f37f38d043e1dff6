"""Shared libraries with chosen names, written byte by byte: one segment, a symbol table, a GNU hash table. No compiler is needed."""

from __future__ import annotations

import struct
from collections.abc import Sequence

SYMBOL = struct.Struct("<IBBHQQ")
GLOBAL_FUNCTION, WEAK_FUNCTION = 0x12, 0x22


def gnu_hash(name: bytes) -> int:
    """As glibc hashes a symbol's name."""
    hashed = 5381
    for byte in name:
        hashed = (hashed * 33 + byte) % 2**32
    return hashed


def library(defines: Sequence[bytes] = (), asks_for: Sequence[bytes] = (), weakly: Sequence[bytes] = ()) -> bytes:
    """An ELF file that defines and asks for these names. One bucket, so that every look-up walks the whole chain."""
    strings, symbols = b"\0", SYMBOL.pack(0, 0, 0, 0, 0, 0)
    for names, info, section in ((asks_for, GLOBAL_FUNCTION, 0), (weakly, WEAK_FUNCTION, 0), (defines, GLOBAL_FUNCTION, 1)):
        for name in names:
            symbols += SYMBOL.pack(len(strings), info, 0, section, 0x1000, 0)
            strings += name + b"\0"
    first = 1 + len(asks_for) + len(weakly)
    chain = [gnu_hash(name) & ~1 for name in defines]
    if chain:
        chain[-1] |= 1
    table = struct.pack("<IIIIQI", 1, first, 1, 6, 2**64 - 1, first if chain else 0) + struct.pack(f"<{len(chain)}I", *chain)
    head = 64 + 2 * 56
    at_dynamic = head + len(symbols) + len(table) + len(strings)
    dynamic = b"".join(
        struct.pack("<QQ", tag, at) for tag, at in ((6, head), (0x6FFFFEF5, head + len(symbols)), (5, head + len(symbols) + len(table)), (0, 0))
    )  # fmt: skip
    size = at_dynamic + len(dynamic)
    header = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    dynamics = struct.pack("<IIQQQQQQ", 2, 6, at_dynamic, at_dynamic, at_dynamic, len(dynamic), len(dynamic), 8)
    return header + load + dynamics + symbols + table + strings + dynamic
