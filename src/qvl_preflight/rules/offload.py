"""QVL4xx, continued: parts of a model that go to the CPU or the disk, and GPUs that get nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qvl_preflight.plan import LoadPlan, Situation
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.unknown import Unknown, need


@rule(
    "QVL413",
    Severity.ERROR,
    topic="offload-disk",
    symptoms=(r"The current `device_map` had weights offloaded to the disk",),
)
def disk_without_a_folder(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    Parts of the model go to the disk, and nothing says where.

    ## What happens
    Tensors of safetensors files are read from where they are. Those of `.bin` files must be written anew, one by one, into `offload_folder`; without it
    the load raises `ValueError: The current device_map had weights offloaded to the disk`. A strategy sends to the disk what neither the GPUs nor
    the memory have room for.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("weights/bin-alone", device_map={"model": 0, "lm_head": "disk"})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("weights/bin-alone", device_map={"model": 0, "lm_head": "disk"}, offload_folder="offload")
    ```

    ## Fix safety
    Safe where the map itself says "disk": the same weights, in a folder of their own. Shown only, where a strategy ran out of memory.
    """
    if isinstance(request.device_map, Mapping):
        fix = remedies.edit('Write them to the folder "offload"', Applicability.SAFE, offload_folder="offload")
    else:
        fix = Fix('Free memory, load a smaller dtype, or say where to write (offload_folder="offload")', Applicability.DISPLAY)
    yield from as_planned(plan, "QVL413", fix)


@rule(
    "QVL414",
    Severity.ERROR,
    topic="offload-disk",
    symptoms=(r"You are trying to offload the whole model to the disk", r"device disk is invalid"),
)
def whole_model_on_the_disk(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The whole model goes to the disk.

    ## What happens
    Up to transformers 4.57 that is refused, or breaks: `ValueError: You are trying to offload the whole model to the disk` or `SafetensorError: device
    disk is invalid`. A max_memory that leaves no room for a single block has the same end as `device_map="disk"`.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": "disk"})
    ```
    Use instead:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Unsafe: the model takes the memory of a GPU, or of the machine, that it was kept out of.
    """
    fix = remedies.on_gpu()
    if fix is not None and isinstance(request.device_map, str):
        fix = None  # a strategy got there by its limits
    yield from as_planned(plan, "QVL414", Fix(fix.title, Applicability.UNSAFE, fix.edits) if fix else None)


@rule("QVL418", Severity.WARNING, topic="oom-fit")
def strategy_leaves_the_gpu_empty(plan: LoadPlan, request: Request, situation: Situation) -> Iterator[Finding]:
    """
    A strategy finds no room for a single block on any GPU.

    ## What happens
    On the first GPU "auto" and its kin keep room for the largest block that may have to be brought in, so a limit below two blocks leaves the GPU
    empty: the whole model goes to the CPU or the disk, with a log line at most.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", max_memory={0: "1GiB", "cpu": "64GiB"})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", max_memory={0: "70GiB", "cpu": "64GiB"})
    ```

    ## Fix safety
    Shown, not applied: what the GPU may hold is your choice.
    """
    if request.device_map not in STRATEGIES or request.asks_for_cpu or plan.blocked("no-cuda", "max-memory"):
        return
    if isinstance(plan.device_map, Unknown):
        return  # listed as an open question of the plan
    homes = set(plan.device_map.values())
    gpus = _gpus_of(request, situation)
    if not gpus or any(home.startswith("cuda") for home in homes) or isinstance(situation.checkpoint.weights, Unknown):
        return
    room = "max_memory" if request.kwargs.get("max_memory") else "its free memory"
    where = " and ".join(sorted(homes))
    fix = Fix("Give the GPU room for at least two blocks, or free it", Applicability.DISPLAY, commands=("nvidia-smi",))
    yield Finding(
        f"the whole model goes to the {where}: {room} has no room for a block and for the largest one to be brought in", fix=fix
    )


def _gpus_of(request: Request, situation: Situation) -> bool:
    """Are there GPUs that the strategy may use?"""
    limits = request.kwargs.get("max_memory")
    named = any(isinstance(key, int) for key in limits) if isinstance(limits, Mapping) else True
    return named and bool(need(situation.devices).visible)


@rule("QVL420", Severity.WARNING, topic="offload-disk")
def max_memory_without_the_cpu(plan: LoadPlan, request: Request, situation: Situation, remedies: Remedies) -> Iterator[Finding]:
    """
    max_memory leaves out the CPU: what does not fit goes to the disk.

    ## What happens
    A max_memory is taken as it is; a device that it does not name gets nothing. What the GPUs have no room for skips the machine's memory and goes to
    the disk, from where every forward reads it again.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", max_memory={0: "2500MiB"})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="auto", max_memory={0: "70GiB"})
    ```

    ## Fix safety
    Safe: the same parts go to the machine's memory, where it has room for them.
    """
    limits = request.kwargs.get("max_memory")
    if not isinstance(limits, Mapping) or "cpu" in limits or "disk" in limits or not limits or request.device_map not in STRATEGIES:
        return
    if (
        isinstance(plan.device_map, Unknown)
        or plan.blocked("max-memory", "disk", "no-cuda")
        or "disk" not in plan.device_map.values()
    ):
        return
    memory = plan.memory
    spilled = memory.get("disk", 0) if not isinstance(memory, Unknown) else 0
    host = situation.facts.host
    free = host.ram_available_bytes if not isinstance(host, Unknown) else host
    fix = None
    if not isinstance(free, Unknown) and 2 * spilled < free:
        fix = remedies.edit(
            "Let the machine's memory hold them", Applicability.SAFE, max_memory={**limits, "cpu": f"{free // 2**30}GiB"}
        )
    size = f"{spilled / 2**30:.1f} GiB" if spilled else "parts"
    yield Finding(f'{size} of the model go to the disk: max_memory does not name "cpu"', fix=fix)


@rule("QVL421", Severity.ERROR, topic="offload-disk", symptoms=(r"is on the meta device, we need a `value` to put in on",))
def disk_inside_a_placed_module(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    A part goes to the disk inside of a module that is placed as a whole.

    ## What happens
    accelerate moves a module that an entry names to its device, all of it. Where a longer entry leaves a part of it on the disk, that part has no values
    yet: `ValueError: weight is on the meta device, we need a value to put in on cpu`. The same map with "cpu" for "disk" works, and so does one whose
    entries do not contain one another.

    ## Example
    ```python hardware=no-gpu stack=today-without-gptqmodel
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": "cpu", "model.layers.1": "disk"})
    ```
    Use instead:
    ```python hardware=no-gpu stack=today-without-gptqmodel
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"model": "cpu", "lm_head": "disk"})
    ```

    ## Fix safety
    Shown, not applied: give every module next to the part on the disk an entry of its own.
    """
    fix = Fix(
        "Name the modules beside the part on the disk one by one, and leave out the entry that holds them all",
        Applicability.DISPLAY,
    )
    yield from as_planned(plan, "QVL421", fix)
