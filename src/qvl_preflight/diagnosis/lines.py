"""Lines out of a log of any size: what may matter, without prefixes, one stream for each rank. Bounded in time and memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qvl_preflight.diagnosis.squeeze import plain

WHOLE = 1 << 20  # a text up to this size is read as it is
_SHARE = 1 << 19  # of a larger one, this much from its beginning and from its end, around what looks like trouble
_BLOCK = 1 << 16
LONGEST = 4000  # signs of a line
_TROUBLE = re.compile(r"Traceback|Error|Exception|CUDA|Killed|SIGKILL|failed|undefined symbol|not supported")
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
    return _from_front(text) + "\n" + _from_end(text)


def _from_front(text: str) -> str:
    parts, size, done = [], 0, 0
    for match in _TROUBLE.finditer(text, 0, len(text)):
        if match.start() < done:
            continue
        start, done = max(done, match.start() - 3000), min(len(text), match.start() + 3000)
        parts.append(text[start:done])
        size += done - start
        if size >= _SHARE:
            break
    return "\n".join(parts)


def _from_end(text: str) -> str:
    parts, size, end = [text[-8000:]], 8000, max(0, len(text) - 8000)
    while end > 0 and size < _SHARE:
        start = max(0, end - _BLOCK)
        hits = list(_TROUBLE.finditer(text, start, end))
        for match in reversed(hits):
            if match.start() >= end:
                continue
            begin, stop = max(start, match.start() - 3000), min(end, match.start() + 3000)
            parts.append(text[begin:stop])
            size, end = size + stop - begin, begin
            if size >= _SHARE:
                break
        else:
            end = start
    return "\n".join(reversed(parts))


def streams(text: str) -> list[list[str]]:
    """Lines without prefixes, those of each rank together, in the order in which the ranks first speak."""
    found: dict[str, list[str]] = {}
    for raw in relevant(text).splitlines():
        line, who = strip(plain(raw if len(raw) <= LONGEST else f"{raw[: LONGEST // 2]} … {raw[-LONGEST // 2 :]}"))
        found.setdefault(who, []).append(line)
    return list(found.values())


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


def numbered(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, the blank ones left out."""
    return ((number, line) for number, line in enumerate(lines) if line.strip())
