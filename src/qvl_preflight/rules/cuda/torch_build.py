"""The installed torch: is it built for this machine's GPUs?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.facts import Packages
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.rules.cuda.causes import reason
from qvl_preflight.rules.cuda.ways_out import has_no_gpu
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.cuda import refusal_of, without_kernels
from qvl_preflight.stack.torch_wheels import built_for, channel_for, install_command, install_from, runs_on
from qvl_preflight.unknown import Unknown, need

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan
    from qvl_preflight.remedies import Remedies
    from qvl_preflight.request import Request


@rule(
    "QVL102",
    Severity.ERROR,
    topic="torch-cpu-build",
    symptoms=(r"Torch not compiled with CUDA enabled", r"Cannot access accelerator device when none is available"),
    environment=True,
)
def torch_without_cuda(facts: Facts, devices: Devices, plan: LoadPlan | None, remedies: Remedies | None) -> Iterator[Finding]:
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
    Shown, not applied: a package must be replaced. On a machine that has no GPU at all the call is put on the CPU, which is safe.
    """
    if plan is not None:
        plain = not isinstance(plan.quantization, Unknown) and plan.quantization is None
        on_cpu = remedies.on_cpu() if remedies is not None and plain and has_no_gpu(facts) else None
        yield from as_planned(plan, "QVL102", on_cpu or (lambda _: _with_cuda(facts)))
    elif (refusal := reason(facts, devices, "cpu-build")) and need(devices).physical:
        yield Finding(f"{refusal.why}: this machine's GPUs stay idle", "import", fix=_with_cuda(facts), severity=Severity.WARNING)


def _with_cuda(facts: Facts) -> Fix:
    return Fix.display("Install a torch that is built with CUDA", install_command(facts))


@rule("QVL121", Severity.WARNING, topic="torch-cpu-build")
def strategy_without_cuda(facts: Facts, devices: Devices, plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    A strategy is to use this machine's GPU, and the installed torch is built without CUDA.

    ## What happens
    `device_map="auto"` fills the GPUs that torch sees. A torch without CUDA sees none: the whole model goes to the CPU without a word, and the GPU
    idles. Since transformers 5 that holds for 4-bit weights of bitsandbytes, too.

    ## Example
    ```python hardware=a100-cpu-torch
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto")
    ```
    Use instead, or install a torch with CUDA:
    ```python hardware=a100-cpu-torch
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: a package must be replaced.
    """
    if (
        request.device_map not in STRATEGIES
        or request.asks_for_cpu
        or isinstance(plan.devices, Unknown)
        or plan.devices != ("cpu",)
    ):
        return
    refusal = reason(facts, devices, "cpu-build")
    if refusal is not None and need(devices).physical:
        yield Finding(
            f"{refusal.why}: the model goes to the CPU, and this machine's GPUs stay idle", "import", fix=_with_cuda(facts)
        )


@rule("QVL104", Severity.ERROR, topic="gptq-on-cpu", symptoms=(r"GPU is required to quantize or run quantize model",))
def gptq_needs_cuda(plan: LoadPlan) -> Iterator[Finding]:
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


@rule(
    "QVL114",
    Severity.ERROR,
    topic="arch-no-kernel",
    symptoms=(
        r"no kernel image is available for execution on the device",
        r"is not compatible with the current PyTorch installation",
    ),
    environment=True,
)
def gpu_without_kernels(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The installed torch holds no kernel for this GPU.

    ## What happens
    A wheel of torch is built for a list of compute capabilities. New GPUs are missing from old wheels (RTX 50 before CUDA 12.8), old GPUs from
    new ones (Pascal and Volta with CUDA 13). `torch.cuda.is_available()` is True and the weights are loaded; the first operation raises
    `CUDA error: no kernel image is available for execution on the device`.

    ## Example
    ```python hardware=blackwell-old-wheel stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until torch is replaced:
    ```python hardware=blackwell-old-wheel stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: a package must be replaced.
    """
    if plan is not None:
        yield from as_planned(plan, "QVL114", lambda _: _for_this_gpu(facts))
    elif refusal_of(facts, devices) is None:
        archs, read = built_for(facts, Packages(facts))
        assumed = "" if read else " (if it is PyTorch's own wheel)"
        without = dict.fromkeys(
            without_kernels(gpu, archs) for gpu in need(devices).visible if not runs_on(archs, need(gpu.capability))
        )
        for sentence in without:  # GPUs of one model are one finding
            message = f"{sentence}{assumed}: the first operation on it fails"
            yield Finding(message, "import", fix=_for_this_gpu(facts), severity=Severity.WARNING)


def _for_this_gpu(facts: Facts) -> Fix:
    if channel_for(facts):
        return Fix.display("Install a torch that is built for this GPU", install_command(facts))
    title = "Install a torch that is built for this GPU, or use another GPU"
    return Fix.display(title, 'python -c "import torch; print(torch.cuda.get_arch_list())"')


@rule("QVL115", Severity.ERROR, topic="no-cuda-visible", environment=True)
def torch_for_other_gpus(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The GPU is of one vendor, the installed torch is built for another's.

    ## What happens
    A torch for CUDA cannot use an AMD GPU, a torch for ROCm cannot use NVIDIA's: to it there is no GPU. A call that names one raises
    `RuntimeError: Found no NVIDIA driver on your system`; anything else runs on the CPU.

    ## Example
    ```python hardware=amd-cuda-torch
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, until torch is replaced:
    ```python hardware=amd-cuda-torch
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cpu")
    ```

    ## Fix safety
    Shown, not applied: a package must be replaced.
    """
    remedy = Fix.display("Install a torch that is built for ROCm", install_from("rocm6.4"))
    if plan is not None:
        yield from as_planned(plan, "QVL115", remedy)
        return
    hip = False if isinstance(facts.torch, Unknown) else facts.torch.hip_build
    if isinstance(hip, str) and not isinstance(facts.gpus, Unknown) and facts.gpus:
        message = f"torch is built for ROCm {hip}, and the GPU is NVIDIA's"
        yield Finding(message, "import", fix=_with_cuda(facts), severity=Severity.WARNING)
    elif refusal := reason(facts, devices, "other-gpu"):
        # A processor's own graphics are an AMD GPU too, and nobody misses those.
        yield Finding(refusal.why, "import", fix=remedy, severity=Severity.NOTE)
