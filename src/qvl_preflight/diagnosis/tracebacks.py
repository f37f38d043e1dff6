"""Exceptions out of lines: type, message, frames, and which of them are consequences of others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# "ValueError: …", "torch.cuda.OutOfMemoryError: …", "KeyError", and behind a traceback any name at the beginning of a line.
_RAISED = re.compile(
    r"\s{0,4}(?P<type>(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Za-z_]\w{0,60}?(?:Error|Exception|Interrupt|Exit|Failure|Found|Iteration))"
    r"(?:\s{0,60}Traceback \(most recent call last\)|\s?:\s?(?P<message>.*)|\s*)$"
)
_ANY = re.compile(r"(?P<type>(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z]\w{0,60})(?::\s?(?P<message>.*)|\s*)$")
_INLINE = re.compile(r"(?<![\w.])(?P<type>(?:[a-z_]\w{0,40}\.){0,6}[A-Z]\w{0,40}(?:Error|Exception))\s?:\s(?P<message>.*)$")
_FILE = re.compile(r'\s{0,12}(?:File )"?(?P<file>[^"\n]{1,400}?)"?(?:, line \d+|:\d+)(?:, in (?P<function>.{1,200}))?$')
_PATH = re.compile(
    r"\s{0,8}(?P<file>(?:[~/.]|[A-Z]:[\\/])[^\s:]{1,300}\.pyx?|<ipython-input[^>]{1,60}>)(?::\d+)? in (?P<function>.{1,200})$"
)
_MARKED = re.compile(r"\s{0,4}(?:-{2,}> ?\d{1,6} |❱ ?\d{1,6} ?[│|]? ?)(?P<code>.*)$")
_CONTEXT = re.compile(r"\s{0,8}\d{1,6} ?(?:[│|] |  )")
_START = "Traceback (most recent call last)"
_HANDLING, _CAUSE = "During handling of the above exception", "The above exception was the direct cause"
_IGNORED = "Exception ignored in"
_FAR = 80  # signs before an exception in its line, from where on they tell nothing
_STOP = (_START, _HANDLING, _CAUSE, _IGNORED, "Original Traceback", "----------", "==========", "```", "Root Cause")

# What is said because something else has failed before.
CONSEQUENCES = re.compile(
    r"ChildFailedError|ProcessRaisedException|ProcessExitedException|returned non-zero exit status|WorkerCrashedError|KeyboardInterrupt"
    r"|SystemExit|SignalException|DeepSpeedCPUAdam. object has no attribute|Engine core initialization failed|EngineDeadError"
    r"|remote process exited|Connection (?:closed|reset) by peer|Broken pipe|Caught \w{1,40} in (?:DataLoader|pin memory)"
    r"|in __del__|ds_opt_adam|Watchdog caught collective operation timeout|exitcode\s{0,3}: 1|RayTaskError"
)


@dataclass
class Raised:
    """One exception of a log."""

    type: str
    message: str
    line: int  # in its stream
    stream: int
    frames: list[str] = field(default_factory=list)
    code: str = ""  # the line that raised it
    consequence: bool = False
    handled: bool = False  # another was raised while it was handled
    cause: bool = False  # another was raised from it
    text: str = ""  # the line as it stands
    last: bool = False

    @property
    def name(self) -> str:
        """The type without its module."""
        return self.type.rpartition(".")[2]

    @property
    def said(self) -> str:
        """Type and message, as Python prints them."""
        return f"{self.name}: {self.message}"


def raised_in(lines: list[str], stream: int = 0) -> list[Raised]:
    """The exceptions in the order in which they stand."""
    return _Reader(lines, stream).read()


class _Reader:
    """Goes through the lines once."""

    def __init__(self, lines: list[str], stream: int) -> None:
        self.lines, self.stream = lines, stream
        self.found: list[Raised] = []
        self.frames: list[str] = []
        self.code = ""
        self.inside = self.ignored = False

    def read(self) -> list[Raised]:
        index = 0
        while index < len(self.lines):
            index = self._line(index)
        return self.found

    def _line(self, index: int) -> int:
        line = self.lines[index]
        if _START in line or _IGNORED in line or line.lstrip().startswith("Traceback"):
            self.ignored = _IGNORED in line or (self.ignored and self.inside and not self.frames)
            self.frames, self.code, self.inside = [], "", True
            before = _RAISED.match(line)
            return index + 1 if before is None or before["message"] is None else self._raise(index, before)
        if self.found and _HANDLING in line:
            self.found[-1].handled = True
        elif self.found and _CAUSE in line:
            self.found[-1].cause = True
        elif frame := _FILE.match(line) or _PATH.match(line):
            self.inside = True
            self.frames.append(f"{frame['file']} in {frame['function'] or ''}")
        elif marked := _MARKED.match(line):
            self.code = marked["code"]
        elif self.inside and line[:1] in " \t" and not _RAISED.match(line):
            if not _CONTEXT.match(line) and line.strip(" \t~^"):
                self.code = line.strip()
        elif match := _RAISED.match(line) or (self.inside and self.frames and _ANY.match(line)) or _INLINE.search(line):
            return self._raise(index, match)
        return index + 1

    def _raise(self, index: int, match: re.Match[str]) -> int:
        parts, end = [match["message"] or ""], index + 1
        while end < len(self.lines) and end - index < 25 and not self._ends(self.lines[end]):
            parts.append(self.lines[end])
            end += 1
        message = "\n".join(parts)[:6000].strip()
        consequence = self.ignored or bool(CONSEQUENCES.search(f"{match['type']}: {message[:2000]}"))
        text = self.lines[index][match.start() :] if match.start() > _FAR else self.lines[index]
        self.found.append(Raised(match["type"], message, index, self.stream, self.frames[-40:], self.code, consequence, text=text))
        self.frames, self.code, self.inside, self.ignored = [], "", False, False
        return end

    @staticmethod
    def _ends(line: str) -> bool:
        return line.startswith(_STOP) or _START in line or _FILE.match(line) is not None or _RAISED.match(line) is not None
