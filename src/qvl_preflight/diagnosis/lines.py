"""Lines out of a log of any size: what may matter, without prefixes, one stream for each rank. Bounded in time and memory."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterable, Iterator

from qvl_preflight.diagnosis.squeeze import plain

WHOLE = 1 << 20  # a text up to this size is read as it is
_SHARE = 1 << 19  # of a larger one, this much from its beginning and from its end, around what looks like trouble
_BLOCK = 1 << 16
LONGEST = 4000  # signs of a line
_AROUND, _LAST, _MOST_UTF16 = 3000, 8000, 16 << 20
_BEFORE, _MOST_PIECES = 100, 20
_SIGNS = r"Traceback|Error|Exception|CUDA|Killed|SIGKILL|failed|undefined symbol|not supported"
_TROUBLE, _TROUBLE_BYTES = re.compile(_SIGNS), re.compile(_SIGNS.encode())
Find = Callable[[int, int], Iterable["re.Match[str] | re.Match[bytes]"]]
_PREFIXES = re.compile(
    r"""\s{0,8}(?:
      \[?(?:default|rank|proc|Rank|RANK)_?(?P<rank>\d{1,5})\]?:?(?:\[[A-Z]\d{4}[^\]]{0,60}\])?:?\s?   # [rank0]:  rank3:  [default1]:
    | (?P<task>\d{1,5}):\s                                                                             # srun -l:  12: Traceback
    | (?P<node>[A-Za-z][\w.-]{0,40}\d):\s(?=\s|Traceback|File|\w{1,40}Error|\[rank|During|The above)   # pdsh, DeepSpeed:  worker-3: …
    | \((?P<worker>[A-Za-z]\w{0,40}\s)?(?:pid=)\d{1,9}(?:,\sip=[\d.]{1,20})?\)\s?                      # Ray
    | \[?\d{4}-\d\d-\d\d[T\s][\d:.,]{5,20}Z?(?:\s?[+-]\d{4})?\]?\s{0,3}(?:[-|:]\s)?                    # 2024-05-01 12:00:00,123 -
    | \[?(?:ERROR|INFO|WARNING|CRITICAL|DEBUG|stderr|stdout)\]?\s{0,6}(?:[:|-]\s|\s)                    # levels
    | \[[A-Z]\d{2,4}\s[\d:.]{4,20}\s[^\]]{1,80}\]\s                                                    # [W CUDAFunctions.cpp:108]
    | >\s                                                                                              # quoted in an issue
    | E\s{3}                                                                                           # pytest
    | [│┃|]\s                                                                                          # the box of rich
    )""",
    re.VERBOSE,
)
_BOX = re.compile(r"\s{0,200}[│┃|╮╯╭╰]\s{0,4}$")


def relevant(text: str) -> str:
    """The text, or of a large one what stands around signs of trouble, from its beginning and from its end."""
    if len(text) <= WHOLE:
        return text
    front = _from_front(lambda start, end: _TROUBLE.finditer(text, start, end), len(text))
    end = _from_end(lambda start, end: _TROUBLE.finditer(text, start, end), len(text))
    return "\n".join(text[start:stop] for start, stop in (*front, *end))


def relevant_bytes(log: bytes | bytearray | mmap.mmap) -> str:
    """As `relevant`, for a log that is not decoded yet: only what matters becomes text."""
    if log[:2] in (b"\xff\xfe", b"\xfe\xff"):  # as PowerShell writes
        return relevant(
            bytes(log[: _MOST_UTF16 // 2] + log[-_MOST_UTF16 // 2 :] if len(log) > _MOST_UTF16 else log[:]).decode(
                "utf-16", "replace"
            )
        )
    if len(log) <= WHOLE:
        return bytes(log[:]).decode("utf-8", "replace")
    front = _from_front(lambda start, end: _TROUBLE_BYTES.finditer(log, start, end), len(log))
    end = _from_end(lambda start, end: _TROUBLE_BYTES.finditer(log, start, end), len(log))
    return "\n".join(bytes(log[start:stop]).decode("utf-8", "replace") for start, stop in (*front, *end))


def _from_front(find: Find, size: int) -> Iterator[tuple[int, int]]:
    kept = done = 0
    for match in find(0, size):
        if match.start() < done:
            continue
        start, done = max(done, match.start() - _AROUND), min(size, match.start() + _AROUND)
        yield start, done
        kept += done - start
        if kept >= _SHARE:
            return


def _from_end(find: Find, size: int) -> list[tuple[int, int]]:
    last = max(0, size - _LAST)
    parts, kept, end = [(last, size)], size - last, last
    while end > 0 and kept < _SHARE:
        start = max(0, end - _BLOCK)
        for at in reversed([match.start() for match in find(start, end)]):
            if at >= end:
                continue
            begin, stop = max(start, at - _AROUND), min(end, at + _AROUND)
            parts.append((begin, stop))
            kept, end = kept + stop - begin, begin
            if kept >= _SHARE:
                break
        else:
            end = start
    return list(reversed(parts))


def streams(text: str) -> list[list[str]]:
    """Lines without prefixes, those of each rank together, in the order in which the ranks first speak."""
    found: dict[str, list[str]] = {}
    for raw in relevant(text).splitlines():
        for piece in _pieces(raw):
            line, who = strip(plain(piece))
            found.setdefault(who, []).append(line)
    return list(found.values())


def _pieces(line: str) -> list[str]:
    """A traceback that a log writes as one line, as JSON does, line by line; of a line that is too long what stands around trouble."""
    if "Traceback" in line and "\\n" in line:
        return [piece for part in line.replace('\\"', '"').split("\\n") if part.strip("\"'}], ") for piece in _around(part)]
    return _around(line)


def _around(line: str) -> list[str]:
    if len(line) <= LONGEST:
        return [line]
    pieces, done = [f"{line[: LONGEST // 2]} …"], LONGEST // 2
    for match in _TROUBLE.finditer(line, done):
        if match.start() >= done and len(pieces) < _MOST_PIECES:
            start, done = max(done, match.start() - _BEFORE), match.start() + LONGEST // 2
            pieces.append(line[start:done])
    return [*pieces, f"… {line[max(done, len(line) - LONGEST // 2) :]}"]


def strip(line: str) -> tuple[str, str]:
    """The line without its prefixes, and the rank or node that said it."""
    who = ""
    for _ in range(4):
        match = _PREFIXES.match(line)
        if match is None or match.end() == 0:
            break
        who = next((f"{key}{value}" for key, value in match.groupdict().items() if value), who)
        line = line[match.end() :]
    return _BOX.sub("", line) if line[-1:] in "│┃|╮╯ " else line, who
