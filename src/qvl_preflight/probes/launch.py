"""How this process was started: environment variables of launchers, and whether it is a notebook.

Sources: torch 2.11 distributed/run.py (TORCHELASTIC_RUN_ID, RANK, LOCAL_RANK …), accelerate 1.15 utils/launch.py (ACCELERATE_…),
deepspeed 0.19 launcher/launch.py, Slurm's srun manual (SLURM_STEP_NUM_TASKS, SLURM_PROCID, SLURM_LOCALID).
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Literal

from qvl_preflight.facts import Launch
from qvl_preflight.probes import hub
from qvl_preflight.spelling import meant
from qvl_preflight.unknown import Unknown

# Names that decide placement, caches, kernels or downloads. Nothing else of the environment is read: secrets never enter.
ALLOWED = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "CUDA_HOME", "CUDA_PATH", "BNB_CUDA_VERSION",
    "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "ASCEND_RT_VISIBLE_DEVICES",
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT",
    "TRANSFORMERS_CACHE", "PYTORCH_TRANSFORMERS_CACHE", "PYTORCH_PRETRAINED_BERT_CACHE", "MODELSCOPE_CACHE",
    "GPTQMODEL_CUTLASS_DIR", "GPTQMODEL_CACHE_DIR", "GPTQMODEL_MACHETE_PRECOMPILED_LIBRARY", "PYTORCH_CUDA_ALLOC_CONF",
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE", "TORCHELASTIC_RUN_ID",
    "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_DEEPSPEED_ZERO_STAGE", "ACCELERATE_MIXED_PRECISION",
    "SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS",
    "SLURM_GPUS_ON_NODE", "CONDA_DEFAULT_ENV",
)  # fmt: skip


def probe() -> dict[str, Any]:
    """``env`` (allow-listed names, as they count), ``env_misspelt`` (slips of such names), ``env_late`` and ``launch``."""
    env = {name: os.environ[name] for name in ALLOWED if name in os.environ}
    env, late = hub.in_force(env)
    return {"env": env, "env_misspelt": _misspelt(), "env_late": late, "launch": launch_of(env, notebook=_in_notebook())}


def _misspelt() -> dict[str, str]:
    """Names with their values, as far as these are lists of numbers; a value of another kind stays outside."""
    return {name: value if re.fullmatch(r"[\d, -]*", value) else "…" for name, value in os.environ.items() if meant(name)}


def launch_of(env: dict[str, str], *, notebook: bool) -> Launch:
    """The launch that these variables describe."""
    launcher = _launcher(env, notebook)
    slurm = launcher == "slurm"
    world = _number(env, "SLURM_STEP_NUM_TASKS" if slurm else "WORLD_SIZE", 1)
    return Launch(
        launcher=launcher,
        world_size=world,
        rank=_number(env, "SLURM_PROCID" if slurm else "RANK", 0),
        local_rank=_number(env, "SLURM_LOCALID" if slurm else "LOCAL_RANK", 0),
        local_world_size=_number(
            env,
            "LOCAL_SIZE" if launcher == "deepspeed" else "LOCAL_WORLD_SIZE",
            Unknown("the launcher does not say") if slurm else world,
        ),
        notebook=notebook,
        deepspeed_zero=_zero_stage(env, launcher),
        fsdp=env.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"),
    )


def _launcher(env: dict[str, str], notebook: bool) -> str:
    ranked = "RANK" in env and "WORLD_SIZE" in env
    if ranked and any(name.startswith("ACCELERATE_") for name in env):
        return "accelerate"
    if ranked and "CROSS_SIZE" in env and "TORCHELASTIC_RUN_ID" not in env:
        return "deepspeed"
    if "TORCHELASTIC_RUN_ID" in env or (ranked and "LOCAL_RANK" in env):
        return "torchrun"
    # In a salloc shell SLURM_NTASKS is set as well; only a step of several tasks is a launch.
    if env.get("SLURM_STEP_NUM_TASKS", "1").isdecimal() and int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in env:
        return "slurm"
    return "notebook" if notebook else "python"


def _number(env: dict[str, str], name: str, default: int | Unknown) -> int | Unknown:
    value = env.get(name)
    if value is None:
        return default
    try:
        return int(value)
    except ValueError:
        return Unknown(f"{name}={value!r} is not a number")


def _zero_stage(env: dict[str, str], launcher: str) -> int | Literal[False] | Unknown:
    if launcher in ("deepspeed", "torchrun", "slurm"):
        return Unknown("the script's own DeepSpeed configuration decides")
    if env.get("ACCELERATE_USE_DEEPSPEED", "").lower() not in ("1", "true"):
        return False
    return _number(env, "ACCELERATE_DEEPSPEED_ZERO_STAGE", Unknown("the DeepSpeed configuration is in a file"))


def _in_notebook() -> bool:
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:  # notebook_launcher's ranks are children of the notebook
        return False
    shell = sys.modules.get("IPython")
    current = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    return type(current).__name__ in ("ZMQInteractiveShell", "Shell")  # Shell: Google Colab's
