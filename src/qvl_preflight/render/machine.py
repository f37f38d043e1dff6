"""The machine and the plan in lines of text, for every kind of report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvl_preflight.counted import counted
from qvl_preflight.facts import Packages
from qvl_preflight.unknown import Unknown, attempt

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts, Gpu, Host, Python
    from qvl_preflight.plan import LoadPlan

# What decides a load; the rest of the installed packages is in the JSON.
_SHOWN = (
    "torch",
    "torch-npu",
    "transformers",
    "accelerate",
    "optimum",
    "auto-gptq",
    "gptqmodel",
    "bitsandbytes",
    "peft",
    "trl",
    "deepspeed",
    "flash-attn",
    "autoawq",
    "triton",
    "kernels",
)


_VENDORS = {"amd": "AMD", "ascend": "Ascend", "intel": "Intel", "apple": "Apple"}


def machine_lines(facts: Facts) -> list[tuple[str, str]]:
    """Label and text of each line; unknown values say why."""
    lines = [*_gpu_lines(facts), ("torch", _torch(facts)), ("packages", _packages(facts))]
    if "CUDA_VISIBLE_DEVICES" in facts.variables:
        lines.append(("visible", f'CUDA_VISIBLE_DEVICES="{facts.variables["CUDA_VISIBLE_DEVICES"]}"'))
    lines.append(("launch", _launch(facts)))
    if not isinstance(facts.python, Unknown):
        lines.append(("python", _python(facts.python)))
    if not isinstance(facts.host, Unknown):
        lines.append(
            (
                "host",
                f"{_text(facts.host.cpu_count)} CPUs, {_ram(facts.host)}{_place(facts.host)}",
            )
        )
    return lines


def _python(python: Python) -> str:
    kind = "" if isinstance(python.environment, Unknown) else f", {python.environment} environment"
    return f"{_text(python.version)} on {_text(python.platform)}{'' if kind == ', system environment' else kind}"


def _ram(host: Host) -> str:
    if isinstance(host.ram_total_bytes, Unknown) and isinstance(host.ram_available_bytes, Unknown):
        return "RAM not known"
    return f"{bytes_text(host.ram_available_bytes)} of {bytes_text(host.ram_total_bytes)} RAM free"


def _place(host: Host) -> str:
    """What decides where a remedy is applied: a container, a hosted notebook."""
    kinds = [kind for kind in (host.service, host.container) if isinstance(kind, str)]
    return f", {kinds[0]}" if kinds else ""


def _gpu_lines(facts: Facts) -> list[tuple[str, str]]:
    module = False if isinstance(facts.nvidia, Unknown) else facts.nvidia.kernel_module
    loaded = [("driver", f"{module} is loaded")] if isinstance(module, str) else []
    if isinstance(facts.gpus, Unknown):
        return [("GPU", f"unknown{because(facts.gpus.reason)}"), *loaded]
    if not facts.gpus:
        others = facts.other_gpus
        none = f"{', '.join(_VENDORS.get(name, name) for name in others)}; none of NVIDIA's" if others else "none"
        return [("GPU", none if facts.driver is None else f"{none}, although a driver answers"), *loaded]
    driver = facts.driver
    lines = [(f"GPU {gpu.index}", _gpu(gpu)) for gpu in facts.gpus]
    if driver is not None and not isinstance(driver, Unknown):
        lines.append(("driver", f"{_text(driver.version)}, CUDA up to {_text(driver.cuda)}"))
    return lines


def _gpu(gpu: Gpu) -> str:
    capability = "?" if isinstance(gpu.capability, Unknown) else ".".join(map(str, gpu.capability))
    memory = f"{bytes_text(gpu.free_bytes)} of {bytes_text(gpu.total_bytes)} free"
    slices = "" if isinstance(gpu.slices, Unknown) or gpu.mig is not True else f", {counted(len(gpu.slices), 'MIG instance')}"
    return f"{_text(gpu.name)}, capability {capability}, {memory}{slices}"


def _torch(facts: Facts) -> str:
    torch = facts.torch
    installed = attempt(lambda: Packages(facts).has("torch"))
    if installed is False:
        return "not installed"
    if isinstance(torch, Unknown):
        return f"build unknown{because(torch.reason)}"
    if torch.cuda_build is False:
        other = next(
            (
                f"built for {name} {build}"
                for name, build in (("ROCm", torch.hip_build), ("XPU", torch.xpu_build))
                if isinstance(build, str)
            ),
            "",
        )
        return other or "built without CUDA"
    archs = "" if isinstance(torch.arch_list, Unknown) else f" and {', '.join(torch.arch_list)}"
    return f"built for CUDA {_text(torch.cuda_build)}{archs}"


def _packages(facts: Facts) -> str:
    packages = facts.packages
    if isinstance(packages, Unknown):
        return f"unknown{because(packages.reason)}"
    shown = [f"{name} {packages[name]}" for name in _SHOWN if isinstance(packages.get(name), str)]
    return ", ".join(shown) or "none of those that load models"


def _launch(facts: Facts) -> str:
    launch = facts.launch
    if isinstance(launch, Unknown):
        return f"unknown{because(launch.reason)}"
    if isinstance(launch.world_size, int) and launch.world_size > 1:
        return f"{_text(launch.launcher)}, rank {_text(launch.rank)} of {launch.world_size}, local rank {_text(launch.local_rank)}"
    return f"{_text(launch.launcher)}, one process"


def plan_line(plan: LoadPlan, *, shared: bool = False) -> str:
    """Where, how, whether it trains: one line. ``shared``: ZeRO-3 leaves a piece of each weight on every rank."""
    from qvl_preflight.plan import UNPLANNED  # the doctor does without

    parts = []
    if shared:
        parts.append("shared among the ranks by ZeRO-3")
    elif isinstance(plan.devices, Unknown):
        why = "" if plan.devices == UNPLANNED else f" ({plan.devices.reason})"
        parts.append(f"placement not known{why}")
    else:
        idle = f" ({plan.idle_gpu} stays idle unless the model is moved)" if plan.idle_gpu else ""
        parts.append("on " + ", ".join(plan.devices) + idle)
    if not isinstance(plan.kernel, Unknown) and plan.kernel is not None:
        parts.append(f"{plan.kernel.name} kernel" if plan.kernel.backend != "bitsandbytes" else plan.kernel.class_name)
    if not isinstance(plan.dtype, Unknown):
        parts.append(plan.dtype)
    if not isinstance(plan.memory, Unknown) and not shared:
        about = "about " if plan.split_is_about else ""
        parts += [f"{about}{bytes_text(size)} of weights on {device}" for device, size in plan.memory.items()]
    return ", ".join(parts)


def because(reason: str) -> str:
    """A reason after what it explains: behind a colon, unless it has one itself."""
    return f" ({reason})" if ": " in reason else f": {reason}"


def bytes_text(size: int | Unknown) -> str:
    """Bytes for people, in GiB or what fits."""
    if isinstance(size, Unknown):
        return "?"
    for unit, width in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= width:
            return f"{size / width:.1f} {unit}"
    return f"{size} B"


def _text(value: object) -> str:
    return "?" if isinstance(value, Unknown) else str(value)
