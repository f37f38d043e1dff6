"""QVL2xx: which GPUs this process sees, and which of them it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.devices import REPEATED, Devices
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.unknown import need

if TYPE_CHECKING:
    from qvl_preflight.plan import LoadPlan
    from qvl_preflight.remedies import Remedies
    from qvl_preflight.request import Request

_ON_PURPOSE = ("", "-1")  # how people say "no GPU"


def _unhide(devices: Devices) -> Fix:
    return Fix.display(
        "Name GPUs that exist, or unset the variable",
        "unset CUDA_VISIBLE_DEVICES",
        f"export CUDA_VISIBLE_DEVICES={','.join(str(gpu.index) for gpu in devices.physical)}",
    )


@rule("QVL201", Severity.ERROR, topic="visible-devices-env", symptoms=(r"No CUDA GPUs are available",), environment=True)
def hidden_gpus(devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    CUDA_VISIBLE_DEVICES hides every GPU, and a GPU is asked for.

    ## What happens
    The CUDA runtime reads the list up to the first entry that names no device: `""`, `"-1"`, `"none"`, `"all"`, an index that is not
    there and everything after it hide GPUs. With none left, a call that names a GPU raises `RuntimeError: No CUDA GPUs are available`;
    one that does not runs on the CPU.

    ## Example
    ```python hardware=hidden
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, with the variable unset:
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: environment variables are yours.
    """
    if plan is not None:
        yield from as_planned(plan, "QVL201", lambda raised: _unhide(need(devices)))
        return
    if need(devices).hidden and devices.broken is None:
        severity = Severity.NOTE if devices.setting in _ON_PURPOSE else Severity.WARNING
        yield Finding(
            f'CUDA_VISIBLE_DEVICES="{devices.setting}" hides every GPU of this machine',
            "import",
            fix=_unhide(devices),
            severity=severity,
        )


@rule(
    "QVL202", Severity.ERROR, topic="visible-devices-env", symptoms=(r"Unexpected error from cudaGetDeviceCount",), environment=True
)
def repeated_device(devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    CUDA_VISIBLE_DEVICES names a device twice.

    ## What happens
    The CUDA runtime refuses the whole list: `RuntimeError: Unexpected error from cudaGetDeviceCount() … Error 101: invalid device
    ordinal`, and no GPU is visible.

    ## Example
    ```python hardware=repeated
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, with each GPU named once:
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: environment variables are yours.
    """
    if plan is not None:
        yield from as_planned(plan, "QVL202", lambda raised: _unhide(need(devices)))
    elif need(devices).broken == REPEATED:
        yield Finding(
            f'CUDA_VISIBLE_DEVICES="{devices.setting}" names a device twice: CUDA refuses the whole list',
            "import",
            fix=_unhide(devices),
            severity=Severity.WARNING,
        )


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
            if request.kwargs.get("max_memory") and request.device_map in ("auto", "balanced", "balanced_low_0", "sequential")
            else remedies.on_gpu()
        )

    yield from as_planned(plan, "QVL203", remedy)
