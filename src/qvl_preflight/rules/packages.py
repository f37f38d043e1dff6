"""QVL6xx: packages that this call needs, whatever the checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from qvl_preflight.facts import absent
from qvl_preflight.plan import LoadPlan, Situation, Stage, WillRaise
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule


@rule(
    "QVL601",
    Severity.ERROR,
    topic="dep-skew-import",
    symptoms=(r"requires Accelerate: `pip install", r"requires `accelerate`\. You can install it"),
)
def accelerate_missing(plan: LoadPlan) -> Iterator[Finding]:
    """
    A device_map needs accelerate, which is missing or too old.

    ## What happens
    transformers tests for accelerate as soon as a device_map is passed. A release older than its minimum counts as missing: ImportError up to
    4.50, ValueError later.

    ## Example
    ```python stack=today-without-accelerate
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto")
    ```
    Use instead, with accelerate installed:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto")
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """
    yield from as_planned(plan, "QVL601", Fix.display("Install accelerate", "pip install -U accelerate"))


@rule(
    "QVL607",
    Severity.ERROR,
    topic="dep-skew-import",
    symptoms=(
        r"ModuleNotFoundError: No module named '(transformers|torch|peft)'(?!\.|stream|vision|audio|ao)",
        r"Using the `Trainer` with `PyTorch` requires `accelerate",
        r"requires PyTorch >= [\d.]+, but PyTorch was not found",
    ),
)
def not_installed(plan: LoadPlan, situation: Situation) -> Iterator[Finding]:
    """
    A package that the call needs is not installed in the environment that was looked at.

    ## What happens
    The load cannot begin: `import transformers` raises, or without torch every class that loads a model does. Adapters
    need peft, and transformers' Trainer accelerate. Often it is another environment that
    the call will run in: a virtual environment that is not active, a container, a cluster. Check there, or save its facts there and check with
    them anywhere.

    ## Example
    ```python stack=today-without-torch
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead, with torch installed:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: nothing is installed for you.
    """

    def remedy(raised: WillRaise) -> Fix:
        later = {Stage.ADAPTERS: "peft", Stage.TRAINER: "accelerate"}.get(raised.stage)
        return Fix.display(
            "Install it; or, where the call will run on another machine, save that machine's facts there and check with them here",
            f"pip install {later or ' '.join(absent(situation.facts))}",
            "qvl-preflight doctor --save machine.json",
            f"qvl-preflight check {shlex.quote(situation.request.model)} --facts machine.json",
        )

    yield from as_planned(plan, "QVL607", remedy)
