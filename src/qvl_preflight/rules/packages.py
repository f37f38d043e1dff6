"""QVL6xx: packages that this call needs, whatever the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.plan import LoadPlan
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
