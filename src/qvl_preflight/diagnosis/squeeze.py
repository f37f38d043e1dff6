"""Text and patterns without what gets lost in pasting: blanks, line breaks, quotes, backticks, underscores, case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

_DROPPED = " \t\r\n\v\f\"'`_*\u00a0\u200b\ufeff"
# Full-width punctuation and smart quotes, as issues in Chinese and word processors write them.
_PLAIN = str.maketrans({
    "，": ",", "。": ".", "：": ":", "；": ";", "（": "(", "）": ")", "！": "!", "？": "?", "【": "[", "】": "]", "“": '"', "”": '"',
    "‘": "'", "’": "'", "「": '"', "」": '"', "–": "-", "—": "-", "−": "-", "\u3000": " ", "＝": "=", "＜": "<", "＞": ">",
})  # fmt: skip
_DROP = {ord(sign): None for sign in _DROPPED}
_ANSI = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]|\x1b\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def plain(text: str) -> str:
    """Colours and control signs dropped, punctuation as programs write it."""
    return _ANSI.sub("", text).translate(_PLAIN)


def squeeze(text: str) -> str:
    """What is compared."""
    return text.translate(_DROP).lower()


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern for squeezed text. A gap (``.*``) is at most 300 signs, so that every search is linear."""
    parts, index, in_class = [], 0, False
    while index < len(pattern):
        sign = pattern[index]
        if sign == "\\":
            token = pattern[index : index + 2]
            index += 2
            if not in_class and (token in (r"\s", r"\b") or token[1] in _DROPPED):
                index = _after_quantifier(pattern, index)
                continue
            parts.append(token)
            continue
        in_class = (in_class or sign == "[") and sign != "]"
        index += 1
        if sign in _DROPPED and sign != "*" and not in_class:
            index = _after_quantifier(pattern, index)
            continue
        lone = sign == "." and not in_class and pattern[index : index + 1] not in ("*", "+", "?", "{")
        parts.append(".?" if lone else sign)  # mostly stands for a quote
    text = "".join(parts).replace(".*", ".{0,300}?").replace(r"\S+", r"\S{1,200}?").replace(r"\w+", r"\w{1,80}?")
    return re.compile(text.replace(".{0,300}??", ".{0,300}?"), re.IGNORECASE | re.DOTALL)


def _after_quantifier(pattern: str, index: int) -> int:
    while index < len(pattern) and pattern[index] in "?*+":
        index += 1
    return index


@cache
def literals(pattern: str) -> tuple[str, ...]:
    """Runs of plain signs of which every match holds one; empty where no such runs are known."""
    return _needed(compiled(pattern).pattern)


def _needed(source: str) -> tuple[str, ...]:
    parts = _alternatives(source)
    if len(parts) > 1:
        found = [_needed(part) for part in parts]
        return tuple(run for each in found for run in each) if all(found) else ()
    longest = max(_runs(source), key=len).lower()
    if len(longest) >= _SHORTEST:
        return (longest,)
    choices = [needed for group in _groups(source) if (needed := _needed(group))]
    return max(choices, key=lambda each: min(map(len, each)), default=())


@cache
def opening(pattern: str) -> str:
    """The plain signs with which every match begins; empty for a choice."""
    parts = _alternatives(compiled(pattern).pattern)
    runs = _runs(parts[0]) if len(parts) == 1 else [""]
    return runs[0].lower()


_SHORTEST = 4


def _bare(source: str) -> Iterator[tuple[int, str]]:
    """The signs that are neither escaped nor in a class, each with its place."""
    index = 0
    while index < len(source):
        if source[index] == "\\":
            index += 2
        elif source[index] == "[":
            index = source.index("]", index + 2) + 1
        else:
            yield index, source[index]
            index += 1


def _groups(source: str) -> list[str]:
    """What stands in the groups that every match passes through."""
    found, depth, start = [], 0, 0
    for index, sign in _bare(source):
        if sign == "(":
            start = index + 1 if depth == 0 else start
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth == 0 and source[index + 1 : index + 2] not in ("?", "*", "{") and source[start] != "?":
                found.append(source[start:index])
    return found


def _runs(source: str) -> list[str]:
    """The runs of plain signs that every match holds, in order; the first is empty where it begins otherwise."""
    runs: list[str] = []
    run, depth, index = "", 0, 0
    while index < len(source):
        sign, step = source[index], 1
        if sign == "\\":
            sign, step = source[index + 1], 2
            kind = sign if not sign.isalnum() else ""
        elif sign == "[":
            step, kind = source.index("]", index + 2) - index + 1, ""
        elif sign in "()":
            depth, kind = depth + (1 if sign == "(" else -1), ""
        else:
            kind = "" if sign in ".^$|{}?*+" else sign
        after = source[index + step : index + step + 1]
        if kind and depth == 0 and after not in ("?", "*", "{"):
            run += kind
        else:
            runs, run = [*runs, run], ""
        index += step
        if sign == "{" and step == 1:
            index = source.index("}", index) + 1
    return [*runs, run]


def _alternatives(source: str) -> list[str]:
    """The parts of a choice at the top level; the whole where there is none."""
    parts, depth, start = [], 0, 0
    for index, sign in _bare(source):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == "|" and depth == 0:
            parts.append(source[start:index])
            start = index + 1
    return [*parts, source[start:]]
