"""What a guard says, on standard error and nowhere else: in full on the first rank of a machine, in a line what another has beside it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.guarding.active import Settings
from qvl_preflight.guarding.callsite import Site
from qvl_preflight.guarding.ranks import Ranks

if TYPE_CHECKING:
    from qvl_preflight.guarding.judging import Judged

_said: set[str] = set()


@dataclass(frozen=True)
class Told:
    """A call that was looked at."""

    site: Site
    loader: str
    judged: Judged
    corrected: bool = False

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(finding.code for finding in self.judged.grave)


def tell(told: Told, settings: Settings, stops: bool) -> None:
    """Say what was found, once for a place and its findings. Before a stop the other ranks may say theirs: a launcher ends them with the first."""
    again = repr((str(told.site), told.codes, told.corrected, told.judged.changes))
    if again in _said and not stops:
        return
    _said.add(again)
    ranks = Ranks.of(told.judged.report.facts.launch, settings.run)
    to_say = bool(told.codes or told.corrected or settings.dry_run)
    if ranks.first:
        if to_say:
            _write(in_full(told, settings, stops))
        ranks.note(told.codes)
    else:
        _tell_beside(told, ranks, to_say, stops)
    if stops:
        ranks.stop("fails" if told.judged.stops else "clean")


def _tell_beside(told: Told, ranks: Ranks, to_say: bool, stops: bool) -> None:
    """The first rank's findings are awaited, for a moment, where there is something to hold against them."""
    known = ranks.of_the_first() if to_say else frozenset()
    new = [finding for finding in told.judged.grave if finding.code not in known]
    if new:
        more = f" (and {', '.join(finding.code for finding in new[1:])})" if new[1:] else ""
        _write(
            f"qvl-preflight: rank {ranks.rank}: {told.site}: {new[0].code}: {_met(new[0])}{more}{'; stopped here' if stops else ''}\n"
        )
    ranks.note(told.codes)


def _met(finding: object) -> str:
    raises, message = getattr(finding, "raises", None), str(getattr(finding, "message", ""))
    words = f"{raises.type}: {raises.text}" if raises is not None else message
    return " ".join(words.split())[:200]


def headline_of(told: Told) -> str:
    """``train.py:31: AutoModelForCausalLM.from_pretrained: …`` and the report."""
    from qvl_preflight.render.layout import plain, report_lines

    return f"{told.site}: {told.loader}.from_pretrained\n{plain(report_lines(told.judged.report))}"


def in_full(told: Told, settings: Settings, stops: bool) -> str:
    """The report, or the corrected call; where it is, and what becomes of it."""
    from qvl_preflight.render.layout import fixed_lines, plain

    fixed = told.judged.fixed
    if fixed is not None and (told.corrected or fixed.withheld):
        body = f"{told.site}: {told.loader}.from_pretrained\n{plain(fixed_lines(fixed))}"
    else:
        body = headline_of(told)
    return f"\nqvl-preflight: {body}\n{_becomes(told, settings, stops)}"


def _becomes(told: Told, settings: Settings, stops: bool) -> str:
    if settings.dry_run:
        return "qvl-preflight: a dry run ends here, before weights are loaded.\n"
    if stops:
        over = ", with exit code 3; --mode warn goes on" if settings.run is not None else ""
        return f"qvl-preflight: stopped before weights are loaded{over}.\n"
    if told.corrected:
        return "qvl-preflight: the call is made as corrected.\n"
    report = told.judged.report
    if settings.mode == "check" and told.site.library is not None:
        return "qvl-preflight: the call is made as it is: a library may know what to do when it fails.\n"
    if settings.mode == "check" and report.verdict == "fails" and report.request is not None:
        purpose = report.request.purpose
        return f"qvl-preflight: the call is made as it is: that error depends on the purpose, which was not named (--purpose {purpose}).\n"
    if settings.mode == "fix" and told.site.library is not None:
        return "qvl-preflight: the call is made as it is: arguments of a library are its own affair.\n"
    return "qvl-preflight: the call is made as it is.\n"


def once(text: str) -> None:
    """One line, the first time."""
    if text not in _said:
        _said.add(text)
        _write(f"qvl-preflight: {' '.join(text.split())}\n")


def _write(text: str) -> None:
    """What cannot be written is lost, and nothing of it stays in a buffer, where it would fail once more when Python ends."""
    stream: Any = sys.stderr
    if stream is None:
        return
    try:
        if _is_the_process_own(stream):
            data = text.encode("utf-8" if "utf" in (stream.encoding or "").lower() else "ascii", "backslashreplace")
            while data:
                data = data[os.write(2, data) :]
        else:
            stream.write(text)
            stream.flush()
    except Exception:
        return


def _is_the_process_own(stream: Any) -> bool:
    own: Any = sys.__stderr__
    try:
        return stream is own and bool(own.fileno() == 2)
    except (OSError, ValueError, AttributeError):  # no file is behind it
        return False
