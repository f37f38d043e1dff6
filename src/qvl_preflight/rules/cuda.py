"""QVL1xx: can this process use a GPU at all, and if not, why?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.cuda import refusal_of
from qvl_preflight.stack.nvidia_driver import Refusal
from qvl_preflight.unknown import need

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan
    from qvl_preflight.remedies import Remedies


def _reason(facts: Facts, devices: Devices, cause: str) -> Refusal | None:
    refusal = refusal_of(facts, need(devices))
    return refusal if refusal is not None and refusal.cause == cause else None


@rule("QVL101", Severity.ERROR, topic="no-cuda-visible", symptoms=(r"Found no NVIDIA driver on your system",), environment=True)
def no_gpu(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The call asks for a GPU on a machine that has none.

    ## What happens
    No NVIDIA driver answers, or it knows no GPU. A device_map that names a GPU stops when the first tensor is moved:
    `RuntimeError: Found no NVIDIA driver on your system`. In a container this usually means that it was started without GPUs.

    ## Example
    ```python hardware=no-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead:
    ```python hardware=no-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: only you know whether the CPU will do, or whether this is the wrong machine.
    """
    remedy = Fix.display('Give the process a GPU, or pass device_map="cpu"', "docker run --gpus all …", "nvidia-smi")
    if plan is not None:
        yield from as_planned(plan, "QVL101", remedy)
    elif _reason(facts, devices, "no-gpu"):
        yield Finding(
            "this machine has no NVIDIA GPU, or no driver for it: models run on the CPU", "import", severity=Severity.NOTE
        )


@rule(
    "QVL102",
    Severity.ERROR,
    topic="torch-cpu-build",
    symptoms=(r"Torch not compiled with CUDA enabled", r"Cannot access accelerator device when none is available"),
    environment=True,
)
def torch_without_cuda(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The installed torch is built without CUDA, and a GPU is asked for.

    ## What happens
    `pip install torch` on some platforms, and every `+cpu` wheel, brings a torch that cannot use a GPU whatever the driver says. A
    device_map that names one stops at the first tensor; anything else runs on the CPU without a word.

    ## Example
    ```python hardware=a100-cpu-torch
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, or install a torch with CUDA:
    ```python hardware=a100-cpu-torch
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: a package must be replaced.
    """
    remedy = Fix.display("Install a torch that is built with CUDA", "pip install --force-reinstall torch")
    if plan is not None:
        yield from as_planned(plan, "QVL102", remedy)
    elif (refusal := _reason(facts, devices, "cpu-build")) and need(devices).physical:
        yield Finding(f"{refusal.why}: this machine's GPUs stay idle", "import", fix=remedy, severity=Severity.WARNING)


@rule(
    "QVL103", Severity.ERROR, topic="driver-too-old", symptoms=(r"The NVIDIA driver on your system is too old",), environment=True
)
def driver_too_old(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The driver is older than the CUDA that torch is built for.

    ## What happens
    A driver runs every CUDA release of its own major version and older ones. With a torch built for a newer major,
    `torch.cuda.is_available()` is False; asking for a GPU raises `RuntimeError: The NVIDIA driver on your system is too old`.

    ## Example
    ```python hardware=a100-old-driver
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until driver and torch go together:
    ```python hardware=a100-old-driver
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: a driver or a package must be replaced.
    """
    remedy = Fix.display("Update the driver, or install a torch built for the driver's CUDA", "nvidia-smi")
    if plan is not None:
        yield from as_planned(plan, "QVL103", remedy)
    elif refusal := _reason(facts, devices, "driver-too-old"):
        yield Finding(refusal.why, "import", fix=remedy, severity=Severity.WARNING)


@rule("QVL104", Severity.ERROR, topic="gptq-on-cpu", symptoms=(r"GPU is required to quantize or run quantize model",))
def gptq_needs_cuda(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    This release refuses a GPTQ checkpoint where CUDA is not available.

    ## What happens
    transformers 4.32 to 4.34 test `torch.cuda.is_available()` before anything else, whatever the device_map: `RuntimeError: GPU is
    required to quantize or run quantize model.` Releases up to 4.57 do so with auto-gptq up to 0.4.2.

    ## Example
    ```python hardware=no-gpu stack=seed
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen-VL-Chat-Int4", trust_remote_code=True)
    ```
    Use instead, on a machine with a GPU:
    ```python hardware=a100 stack=seed
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen-VL-Chat-Int4", device_map={"": 0}, trust_remote_code=True)
    ```

    ## Fix safety
    Shown, not applied: no argument helps. Newer stacks run GPTQ on the CPU.
    """
    yield from as_planned(
        plan,
        "QVL104",
        Fix.display(
            "Make a GPU visible, or use a stack that runs GPTQ on the CPU",
            "nvidia-smi",
            "pip install 'transformers==4.37.2' 'optimum>=1.16,<1.23' 'auto-gptq==0.7.1' 'peft>=0.6.2,<0.19'",
        ),
    )
