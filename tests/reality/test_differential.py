"""Calls that nobody wrote: the real stack makes them, and the plan must say what happened.

    python tests/reality/test_differential.py STACK 500 [START]      more draws, kept in differences/STACK.json; those of another START in STACK-START.json

Run by ``make reality`` with a few draws; differences that are known are listed with their reason in differences/known.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import stacks
from draws import draws
from test_reality import RUNNER, decoded, facts, models, scratch

import qvl_preflight
from agreement import disagreement

HERE = Path(__file__).parent / "differences"
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
NUMBER, START = 25, 2026  # of each stack
KNOWN: dict[str, str] = json.loads((HERE / "known.json").read_text(encoding="utf-8"))  # "stack: how it parts" → why


def made(stack: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the stack did with each."""
    python, env = stacks.command(stack, scratch())
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([*python, str(RUNNER), str(models())], input=lines, env=env, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def differences(stack: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases where plan and outcome part, with how."""
    found = []
    for case, real in zip(cases, made(stack, cases), strict=True):
        peft = {"peft": case.get("peft", LORA)} if case["action"] == "lora_step" else {}
        parted = parting(stack, case, real, peft)
        if parted is not None:
            found.append({**case, "parted": parted})
    return found


def parting(stack: str, case: dict[str, Any], real: dict[str, Any], peft: dict[str, Any]) -> str | None:
    """Where plan and outcome part. A folder that is not there is refused in one line, which agrees with a load that raises."""
    loader, model = case.get("loader", "AutoModelForCausalLM"), str(models() / case["model"])
    try:
        report = qvl_preflight.check(
            model, purpose=case["purpose"], loader=loader, facts=facts(stack), **peft, **decoded(case["kwargs"])
        )
    except qvl_preflight.InputError as error:
        return None if real["outcome"] == "error" and real["stage"] == "load" else f"refused: {error}"
    return disagreement(report, real)


@pytest.mark.parametrize("stack", list(stacks.STEPS))
def test_drawn_calls_do_what_the_plan_says(stack: str) -> None:
    """The same draws each time; a new difference is a bug of the plan, or a line in known.json with its reason."""
    new = [one for one in differences(stack, draws(NUMBER, START)) if f"{stack} {one['id']}" not in KNOWN]
    assert new == []


def kept(stack: str, number: int, start: int) -> dict[str, Any]:
    """What differences/ keeps of many draws. ``first`` is what agreed before anyone had looked at one of them, whatever was mended since."""
    cases = draws(number, start)
    parted = [{**one, "why": KNOWN.get(f"{stack} {one['id']}", "")} for one in differences(stack, cases)]
    agree, file = len(cases) - len(parted), kept_in(stack, start)
    first = json.loads(file.read_text(encoding="utf-8"))["first"] if file.is_file() else agree
    command = f"python tests/reality/test_differential.py {stack} {number} {start}"
    return {
        "command": command,
        "stack": stack,
        "draws": len(cases),
        "start": start,
        "first": first,
        "agree": agree,
        "parted": parted,
    }


def kept_in(stack: str, start: int) -> Path:
    """The file of these draws."""
    return HERE / (f"{stack}.json" if start == START else f"{stack}-{start}.json")


if __name__ == "__main__":
    name, many, begin = sys.argv[1], int(sys.argv[2]), int((*sys.argv, START)[3])
    found = kept(name, many, begin)
    kept_in(name, begin).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{name}: {len(found['parted'])} of {found['draws']} part")
