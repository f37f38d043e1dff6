"""Writes docs/accuracy.md: how often the plan was right about the recorded runs under tests/recordings, and where it was not.

usage: python scripts/accuracy.py [--check]
--check: change nothing, fail if the page differs.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from agreement import named, same_kernel, same_place  # noqa: E402
from qvl_preflight.report import Report, Severity  # noqa: E402
from recorded import cases, facts, known, replay  # noqa: E402

DIFFERENCES = ROOT / "tests" / "reality" / "differences"
PAGE = ROOT / "docs" / "accuracy.md"
HEAD = """# How often it is right

Every row is a real stack on a real machine; every call was made there, and `check` was asked about it from the facts of that machine alone.
The recordings are in [tests/recordings](../tests/recordings/README.md); this page is written by `python scripts/accuracy.py`, and `make lint`
holds that it is current. The plan was built with these recordings at hand, so they say what is covered, not how it does on calls that nobody has recorded.

- **failures**: calls that raised, or that trained and passed no gradient. *Caught*: an error was found. *Exact*: the first finding has the exception's type, the
  beginning of its text and the stage.
- **working calls**: *false alarms* are errors found in them; *warnings* are counted apart: these calls run, and
  otherwise than their words say (on the CPU beside an idle GPU, all on the disk, `80gb` read as bits, a block that is not trained).
- **placement**, **kernel**: of the working calls, those whose devices and whose quantised layer were said.

"""
COLUMNS = ("stack", "failures caught", "exact", "working calls with a false alarm", "with a warning", "placement", "kernel")


def main(check: bool) -> int:
    """Write or compare; 1 if the page differs."""
    text = page()
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE.name} {'differs' if check else 'written'}")
    if not check:
        PAGE.write_text(text, encoding="utf-8")
    return int(check)


def page() -> str:
    """The page in Markdown."""
    counts: dict[str, Counter[str]] = {}
    for stack, case in cases():
        counts.setdefault(stack, Counter()).update(tally(replay(stack, case), case))
    total: Counter[str] = sum(counts.values(), Counter())
    rows = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    rows += [row(described(stack), count) for stack, count in counts.items()] + [row("**all**", total)]
    return HEAD + "\n".join(rows) + "\n\n" + parted() + drawn() + fixed()


def tally(report: Report, case: dict[str, Any]) -> Counter[str]:
    """What one call adds to its row."""
    severities = {finding.severity.value for finding in report.findings if finding.severity}
    if case["outcome"] == "error" or case.get("grads") == 0:
        exact = named(report, case) if case["outcome"] == "error" else "error" in severities
        return Counter(failures=1, caught="error" in severities, exact=exact)
    return Counter(
        working=1, alarms="error" in severities, warned="error" not in severities and "warning" in severities,
        placed=same_place(report, case), kernels=same_kernel(report, case),
    )  # fmt: skip


def described(stack: str) -> str:
    """The releases that matter, and the device."""
    found = facts(stack)
    assert isinstance(found.packages, dict)
    names = ("transformers", "optimum", "auto-gptq", "gptqmodel", "bitsandbytes", "accelerate")
    releases = [f"{name} {version}" for name in names if isinstance(version := found.packages.get(name), str)]
    without = stack.partition("-without-")[2]
    return f"{'H100' if stack.startswith('h100') else 'CPU'}: {', '.join(releases)}{f'; without {without}' if without else ''}"


def row(name: str, count: Counter[str]) -> str:
    """One line of the table."""
    pairs = (
        ("caught", "failures"),
        ("exact", "failures"),
        ("alarms", "working"),
        ("warned", "working"),
        ("placed", "working"),
        ("kernels", "working"),
    )
    return f"| {name} | {' | '.join(f'{count[part]} of {count[whole]}' for part, whole in pairs)} |"


def parted() -> str:
    """The calls where plan and outcome part."""
    lines = [f"- `{name}`: {why}" for name, why in known().items()]
    return "## Where it is wrong\n\nKnown, and kept as tests that must fail until they are mended:\n\n" + "\n".join(lines) + "\n\n"


def drawn() -> str:
    """What became of calls that nobody wrote: tests/reality/differences, a file for each stack."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(DIFFERENCES.glob("*.json")) if file.stem != "known"]
    rows = ["| stack | drawn calls | agreed at first sight | agree now | command |", "| --- | --- | --- | --- | --- |"]
    rows += [f"| {one['stack']} | {one['draws']} | {one['first']} | {one['agree']} | `{one['command']}` |" for one in found]
    reasons = Counter(each["why"] for one in found for each in one["parted"])
    lines = [f"- {count} × {why}" for why, count in reasons.most_common()]
    return (
        "## Drawn calls\n\nArguments, classes and adapters as people pass them, one in four as they get them wrong, drawn for a seed and made on the CPU stacks of `make reality`. "
        "To agree is to name the exception that came first (type, beginning of the text, stage), or devices, dtype and kernel. *At first sight*: what agreed before anyone "
        "had looked at one of these calls, so it is how the plan does on calls that it was not fitted to; it stays as it came out. *Now*: after mending what has a general cause.\n\n"
        + "\n".join(rows)
        + "\n\nWhere they part, and why:\n\n"
        + "\n".join(lines)
        + "\n\n"
    )


def fixed() -> str:
    """What became of corrected calls on the real stacks."""
    made: dict[str, Counter[str]] = {}
    for stack, case in cases():
        if "+fixed" in case["id"] and not replay(stack, case).at_least(Severity.ERROR):  # else its edits are withheld
            good = case["outcome"] == "ok" and case.get("grad_norm") != 0 and case.get("grads") != 0
            made.setdefault(stack, Counter()).update(made=1, good=good)
    rows = ["| stack | corrected calls made | did what was asked |", "| --- | --- | --- |"]
    rows += [f"| {described(stack)} | {count['made']} | {count['good']} |" for stack, count in made.items()]
    total: Counter[str] = sum(made.values(), Counter())
    return (
        "## Corrected calls\n\nCalls that `fix_kwargs` corrects and that were made on the same stack; edits with which a call would still fail are withheld, and are not among them. On the CPU stacks `make reality` makes them anew each time.\n\n"
        + "\n".join([*rows, f"| **all** | {total['made']} | {total['good']} |"])
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
