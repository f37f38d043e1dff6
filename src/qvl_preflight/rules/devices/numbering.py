"""How CUDA numbers the GPUs, and how many MIG instances it shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.devices import kind_of
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import ask, rule
from qvl_preflight.rules.cuda.causes import judged
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan


@rule("QVL210", Severity.NOTE, topic="visible-devices-env", environment=True)
def uncertain_gpu_order(devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    GPUs of several models, and CUDA may number them otherwise than nvidia-smi.

    ## What happens
    nvidia-smi counts by the PCI bus. CUDA puts the fastest GPU first unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set: number 1 of one is not number
    1 of the other, in CUDA_VISIBLE_DEVICES as in `cuda:1`.

    ## Example
    ```python hardware=mixed-gpus
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda:1", dtype=torch.float16)
    ```
    Use instead, with CUDA_DEVICE_ORDER=PCI_BUS_ID:
    ```python hardware=mixed-gpus-by-bus
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda:1", dtype=torch.float16)
    ```

    ## Fix safety
    Shown, not applied: environment variables are yours.
    """
    known = ask(devices, plan)
    if known is None or known.order_known or known.broken:
        return
    numbered = known.setting is not None and kind_of(known.setting) == "number"
    if plan is not None:
        devices_ = () if isinstance(plan.devices, Unknown) else plan.devices
        numbered = any(name.startswith("cuda:") and name != "cuda:0" for name in devices_)
    if numbered:
        models = " and ".join(sorted({str(gpu.name) for gpu in known.physical}))
        message = f"{models}: CUDA puts the fastest first, nvidia-smi goes by the PCI bus, so their numbers can differ"
        yield Finding(message, "import", fix=Fix.display("Number them alike", "export CUDA_DEVICE_ORDER=PCI_BUS_ID"))


@rule("QVL211", Severity.ERROR, topic="visible-devices-env", environment=True)
def bad_device_order(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    CUDA_DEVICE_ORDER has a value that CUDA does not know.

    ## What happens
    It knows `PCI_BUS_ID` and `FASTEST_FIRST`, in capitals. With any other value, an empty one too, CUDA shows no device: `RuntimeError:
    Unexpected error from cudaGetDeviceCount() … Error 101: invalid device ordinal`.

    ## Example
    ```python hardware=bad-device-order
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead:
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: environment variables are yours.
    """
    remedy = Fix.display("Spell it PCI_BUS_ID, or unset it", "export CUDA_DEVICE_ORDER=PCI_BUS_ID")
    yield from judged("QVL211", "bad-order", facts, devices, plan, remedy)


@rule("QVL212", Severity.WARNING, topic="visible-devices-env", environment=True)
def several_mig_instances(devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    CUDA_VISIBLE_DEVICES names several MIG instances, and a process sees one.

    ## What happens
    CUDA shows a process one MIG instance, the first of the list. A model cannot be spread over several, and ranks that share the list share
    one instance.

    ## Example
    ```python hardware=two-mig-instances
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, with one instance per process:
    ```python hardware=mig
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: environment variables are yours.
    """
    known = ask(devices, plan)
    entries = ((known and known.setting) or "").split(",")
    if len(entries) > 1 and all(kind_of(entry) == "MIG" for entry in entries):
        fix = Fix.display("Give each process an instance of its own", f"CUDA_VISIBLE_DEVICES={entries[0]} python …")
        yield Finding(
            f"CUDA_VISIBLE_DEVICES names {len(entries)} MIG instances; this process sees only the first", "import", fix=fix
        )
