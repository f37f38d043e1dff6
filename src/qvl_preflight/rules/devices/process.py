"""What a process and its launcher make of the environment: names that nobody reads, values that come too late, ranks that are left over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.devices import is_rank
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import ask, rule
from qvl_preflight.rules.cuda.causes import judged
from qvl_preflight.rules.cuda.ways_out import give_gpu
from qvl_preflight.spelling import meant
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts, Launch
    from qvl_preflight.plan import LoadPlan


@rule("QVL204", Severity.WARNING, topic="visible-devices-env", environment=True)
def unread_variable(facts: Facts, env: Mapping[str, str], plan: LoadPlan | None) -> Iterator[Finding]:
    """
    An environment variable is set that nothing reads.

    ## What happens
    A slip in the name (`CUDA_VISIBILE_DEVICES`, `CUDA_VISIBLE_DEVICE`) is accepted without a word, and all GPUs stay visible.
    `NVIDIA_VISIBLE_DEVICES` is read when a container is started; outside one it does nothing.

    ## Example
    ```python hardware=misspelt-variable
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead:
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: environment variables are yours.
    """
    known_env = ask(env, plan) or {}
    for name, value in (ask(facts.env_misspelt, plan) or {}).items():
        known = meant(name)
        if known:
            message = f"{name} is set, and nothing reads it: {known} was probably meant"
            severity = Severity.NOTE if known in known_env else None
            yield Finding(
                message,
                "import",
                fix=Fix.display(f"Spell it {known}", f"unset {name}", f"export {known}={value}"),
                severity=severity,
            )
    outside = not isinstance(facts.host, Unknown) and facts.host.container is False
    value = known_env.get("NVIDIA_VISIBLE_DEVICES", "")
    if outside and value[:1].isdigit() and "CUDA_VISIBLE_DEVICES" not in known_env:
        message = f'NVIDIA_VISIBLE_DEVICES="{value}" is read by container runtimes only, and this is no container'
        yield Finding(
            message, "import", fix=Fix.display("Set CUDA_VISIBLE_DEVICES instead", f"export CUDA_VISIBLE_DEVICES={value}")
        )


@rule("QVL206", Severity.WARNING, topic="visible-devices-env", environment=True)
def visible_devices_set_late(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    CUDA_VISIBLE_DEVICES was changed after CUDA had started in this process.

    ## What happens
    CUDA reads the variable once, at its first call; even `torch.cuda.is_available()` is one. What is put into os.environ afterwards changes
    nothing, and the process goes on with the GPUs that it found. In a notebook a cell that ran earlier is the usual reason.

    ## Example
    ```python hardware=set-late
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=two-gpus
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: the process must be started anew.
    """
    if isinstance(facts.torch, Unknown) or isinstance(facts.torch.device_count, Unknown):
        return  # CUDA has not started here
    known = ask(devices, plan)
    if known is not None and known.late:
        count = len(known.visible)
        seen = "its GPU" if count == 1 else f"its {count} GPUs"
        message = f'CUDA had started in this process with {seen} when CUDA_VISIBLE_DEVICES="{known.setting}" was set: that changes nothing'
        fix = Fix.display(
            "Restart the process or the kernel, and set it before the first use of CUDA",
            f"CUDA_VISIBLE_DEVICES={known.setting} python …",
        )
        yield Finding(message, "import", fix=fix)


@rule("QVL207", Severity.WARNING, topic="visible-devices", environment=True)
def rank_without_gpu(launch: Launch, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    There are more ranks on this host than GPUs.

    ## What happens
    This rank's LOCAL_RANK is no GPU that it sees. `torch.cuda.set_device(LOCAL_RANK)`, as most training scripts and accelerate up to 0.23 call
    it, raises `CUDA error: invalid device ordinal`; newer accelerate (0.34 was read) lets ranks share a GPU, on which NCCL then refuses to work.

    ## Example
    ```python hardware=rank-3-of-4
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```
    Use instead, with one process per GPU:
    ```python hardware=rank-1-of-2
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: it is a matter of how the script is started.
    """
    if not is_rank(launch) or launch.launcher == "slurm":  # Slurm gives each task its own GPU, which then is the only one
        return
    local_rank, known = ask(launch.local_rank, plan), ask(devices, plan)
    if local_rank is None or known is None:
        return
    count = len(known.visible)
    if 0 < count <= local_rank and (count > 1 or known.setting is None):
        message = f"LOCAL_RANK is {local_rank}, and this process sees {count} GPU{'s' * (count != 1)}: the rank has none of its own"
        fix = Fix.display("Start one process per GPU", f"torchrun --nproc_per_node {count} …")
        yield Finding(message, "import", fix=fix)


_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


@rule(
    "QVL208",
    Severity.WARNING,
    topic="visible-devices",
    symptoms=(
        r"Error initializing torch\.distributed using env://",
        r"environment variable (RANK|WORLD_SIZE|MASTER_ADDR) expected, but not set",
    ),
    environment=True,
)
def stale_rank_variables(launch: Launch, env: Mapping[str, str], plan: LoadPlan | None) -> Iterator[Finding]:
    """
    Variables of a launcher are set, and no launcher started this process.

    ## What happens
    Trainer and accelerate take LOCAL_RANK as the word of a launcher: they wait for ranks that never come, or stop with `ValueError: Error
    initializing torch.distributed using env:// rendezvous: environment variable RANK expected, but not set`. Variables that an earlier run
    or a copied cell left behind are the usual reason.

    ## Example
    ```python hardware=stale-ranks
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python hardware=notebook
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: environment variables are yours.
    """
    known = ask(env, plan) or {}
    left = {name: known[name] for name in _RANKS if name in known}
    if "TORCHELASTIC_RUN_ID" in known or not left or left.get("LOCAL_RANK") == "-1":
        return
    launch_ = ask(launch, plan)
    if launch_ is None:
        return
    in_notebook = ask(launch_.notebook, plan) and (left.get("WORLD_SIZE", "1") != "1" or "LOCAL_RANK" in left)
    alone = launch_.launcher == "python" and "LOCAL_RANK" in left and ("RANK" not in left or "WORLD_SIZE" not in left)
    if in_notebook or alone:
        shown = " ".join(f"{name}={value}" for name, value in left.items())
        where = "in this notebook" if in_notebook else "for a process that no launcher started"
        command = f"import os; [os.environ.pop(name, None) for name in {list(left)}]" if in_notebook else f"unset {' '.join(left)}"
        fix = Fix.display("Remove them before anything of torch or accelerate is used", command)
        yield Finding(
            f"{shown} {'is' if len(left) == 1 else 'are'} set {where}: Trainer and accelerate take it for a rank of a launch, and may wait for the others",
            "train",
            fix=fix,
        )


@rule("QVL209", Severity.ERROR, topic="no-cuda-visible", environment=True)
def slurm_job_without_gpu(facts: Facts, devices: Devices, plan: LoadPlan | None) -> Iterator[Finding]:
    """
    The Slurm job has no GPU: none was asked for.

    ## What happens
    Slurm sets CUDA_VISIBLE_DEVICES=NoDevFiles in a job that asked for no GPU, also on a node that has some: `RuntimeError: No CUDA GPUs are
    available`. To unset the variable would take GPUs that belong to other jobs.

    ## Example
    ```python hardware=slurm-without-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead, in a job that asked for a GPU:
    ```python hardware=slurm-with-gpu
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: the job must be submitted anew.
    """
    yield from judged("QVL209", "slurm-none", facts, devices, plan, give_gpu(facts))
