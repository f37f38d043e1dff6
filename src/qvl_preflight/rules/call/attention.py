"""The attention implementation that is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule


@rule(
    "QVL904",
    Severity.ERROR,
    topic="flash-attn-missing",
    symptoms=(
        r"FlashAttention[23] has been toggled on, but it cannot be used due to the following error: the package",
        r"`kernels` is either not installed",
    ),
)
def attention_package_missing(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The attention implementation that is asked for is not installed.

    ## What happens
    `flash_attention_2` needs the package flash-attn, `flash_attention_3` flash-attn-3, a name like `org/kernel` the package kernels. Without it
    the load raises an ImportError. transformers 5 falls back to a kernel of the hub where kernels is installed.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attention_2")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="sdpa")
    ```

    ## Fix safety
    Required: PyTorch's own attention computes the same, more slowly for long inputs, with differences in the last digits.
    """
    yield from as_planned(
        plan,
        "QVL904",
        _own_attention(request),
    )


@rule("QVL905", Severity.ERROR, topic="sdpa-unsupported", symptoms=(r"Specified `attn_implementation=.* is not supported",))
def unknown_attention(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The attention implementation has a name that this release does not know.

    ## What happens
    transformers 4.36 to 4.47 take "eager", "sdpa" and "flash_attention_2"; any other name, one of a kernel on the hub included, raises a
    ValueError while the model is built.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="flash_attn_2")
    ```
    Use instead:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, attn_implementation="sdpa")
    ```

    ## Fix safety
    Required: PyTorch's own attention computes the same, more slowly for long inputs, with differences in the last digits.
    """
    yield from as_planned(plan, "QVL905", _own_attention(request))


def _own_attention(request: Request) -> Fix:
    """sdpa, in place of either spelling."""
    edits = [Edit("attn_implementation", request.get("attn_implementation"), "sdpa")]
    if request.kwargs.get("use_flash_attention_2"):
        edits.append(Edit("use_flash_attention_2", True, MISSING))
    return Fix("Use PyTorch's own attention", Applicability.REQUIRED, tuple(edits))
