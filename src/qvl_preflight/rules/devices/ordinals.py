"""The GPUs that a call names by their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.accelerate import STRATEGIES

if TYPE_CHECKING:
    from qvl_preflight.plan import LoadPlan
    from qvl_preflight.remedies import Remedies
    from qvl_preflight.request import Request


@rule("QVL203", Severity.ERROR, topic="visible-devices", symptoms=(r"CUDA error: invalid device ordinal",))
def missing_ordinal(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The call names a GPU that this process does not see.

    ## What happens
    Ordinals count the visible GPUs, from 0. One that is not there raises `CUDA error: invalid device ordinal` when the first tensor is
    moved, after the files were read. Inside CUDA_VISIBLE_DEVICES=3 the only GPU is `cuda:0`.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda:1")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Safe: the same weights on a GPU that this process may use. A max_memory that names it is dropped instead.
    """

    def remedy(_: object) -> Fix | None:
        return (
            remedies.without("max_memory", "Drop max_memory: it names a GPU that is not there")
            if request.kwargs.get("max_memory") and request.device_map in STRATEGIES
            else remedies.on_gpu()
        )

    yield from as_planned(plan, "QVL203", remedy)
