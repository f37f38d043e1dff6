"""CUDA_VISIBLE_DEVICES: which GPUs it leaves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.devices import kind_of, named
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, ask, rule
from qvl_preflight.rules.cuda.causes import reason
from qvl_preflight.unknown import need

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan

_ON_PURPOSE = ("", "-1")  # how people say "no GPU"


def _unhide(facts: Facts, devices: Devices) -> Fix:
    if {"SLURM_STEP_GPUS", "SLURM_JOB_GPUS"} & facts.variables.keys():
        title = "Leave the variable as Slurm sets it: inside a job its GPUs count from 0"
        return Fix.display(title, "unset CUDA_VISIBLE_DEVICES")
    return Fix.display(
        "Name GPUs that exist, or unset the variable",
        "unset CUDA_VISIBLE_DEVICES",
        f"export CUDA_VISIBLE_DEVICES={','.join(str(gpu.index) for gpu in devices.physical)}",
    )


def _first_entry(devices: Devices) -> str:
    """Why the first entry names no device."""
    entry = devices.unread[0] if devices.unread else ""
    kind, count = kind_of(entry), len(devices.physical)
    if kind == "number" and not entry.strip().startswith("-"):
        return (
            f": there is no GPU {entry.strip()}, GPUs count from 0 to {count - 1}"
            if count > 1
            else f": there is no GPU {entry.strip()}, only GPU 0"
        )
    if kind in ("GPU", "MIG"):
        return ": no device here has that UUID"
    return "" if entry.strip() in _ON_PURPOSE else ": that is neither a number nor a UUID as nvidia-smi -L prints it"


@rule("QVL201", Severity.ERROR, topic="visible-devices-env", symptoms=(r"No CUDA GPUs are available",), environment=True)
def hidden_gpus(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
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
        yield from as_planned(plan, "QVL201", lambda _: _unhide(facts, need(devices)))
        return
    if reason(facts, devices, "hidden"):
        severity = Severity.NOTE if devices.setting in _ON_PURPOSE else Severity.WARNING
        yield Finding(
            f'CUDA_VISIBLE_DEVICES="{devices.setting}" hides every GPU of this machine{_first_entry(devices)}',
            "import",
            fix=_unhide(facts, devices),
            severity=severity,
        )


@rule(
    "QVL202",
    Severity.ERROR,
    topic="visible-devices-env",
    symptoms=(r"Unexpected error from cudaGetDeviceCount.{0,200}Error 101: invalid device ordinal",),
    environment=True,
)
def repeated_device(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
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
        yield from as_planned(plan, "QVL202", lambda _: _unhide(facts, need(devices)))
    elif reason(facts, devices, "repeated"):
        yield Finding(
            f'CUDA_VISIBLE_DEVICES="{devices.setting}" names a device twice: CUDA refuses the whole list',
            "import",
            fix=_unhide(facts, devices),
            severity=Severity.WARNING,
        )


@rule("QVL205", Severity.WARNING, topic="visible-devices-env", environment=True)
def list_that_ends_early(devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    CUDA_VISIBLE_DEVICES names GPUs that the runtime does not read.

    ## What happens
    The CUDA runtime stops at the first entry that names no device, and forgets what follows: `"0,7,1"` on two GPUs is GPU 0 alone. Only commas
    separate: `"0 1"`, `"0;1"` and `"0-1"` are GPU 0 alone as well. Nothing is said.

    ## Example
    ```python hardware=list-ends-early
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=two-gpus
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: environment variables are yours.
    """
    known = ask(devices, plan)
    if known is None or known.setting is None or not known.visible:
        return
    meant = [entry for entry in known.unread[1:] if (gpu := named(entry, known.physical)) and gpu not in known.visible]
    parts = re.split(r"[\s;:|-]+", known.setting.strip())
    if len(parts) > 1 and all(part.isdecimal() for part in parts) and len(known.physical) > 1:
        meant = parts[1:]
    seen = f"this process sees {len(known.visible)} GPU{'s' * (len(known.visible) != 1)}"
    fix = Fix.display("Separate with commas, and name GPUs that exist", f"export CUDA_VISIBLE_DEVICES={_mended(known)}")
    if meant:
        yield Finding(f'CUDA_VISIBLE_DEVICES="{known.setting}" is read up to "{_read_up_to(known)}": {seen}', "import", fix=fix)
    elif known.unread and plan is None:
        message = f'CUDA_VISIBLE_DEVICES="{known.setting}" names a GPU that is not there ("{known.unread[0]}"): {seen}'
        yield Finding(message, "import", fix=fix, severity=Severity.NOTE)


def _read_up_to(devices: Devices) -> str:
    entries = (devices.setting or "").split(",")
    read = entries[: len(entries) - len(devices.unread)]
    return ",".join(re.match(r"\s*\d+", entry).group() if kind_of(entry) == "number" else entry for entry in read)  # type: ignore[union-attr]


def _mended(devices: Devices) -> str:
    """Every GPU that the list names and that is there, once."""
    numbers = [int(number) for number in re.findall(r"\d+", devices.setting or "")] if "GPU-" not in (devices.setting or "") else []
    there = [str(number) for number in dict.fromkeys(numbers) if number < len(devices.physical)]
    return ",".join(there or [str(gpu.index) for gpu in devices.visible])
