"""What a person can do about a GPU that cannot be used, in the words of the place where the process runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvl_preflight.report import Fix
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts

# Sources: Docker, Podman and Apptainer manuals; Kubernetes device plugins; Slurm's srun; CUDA on WSL user guide; the menus of Colab and Kaggle.
_WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "colab": ("Choose Runtime > Change runtime type > T4 GPU, then run the cells again", ()),
    "kaggle": ("Choose Settings > Accelerator > GPU T4 x2, then run the cells again", ()),
    "kubernetes": ("Ask for a GPU in the pod's resources: limits: {nvidia.com/gpu: 1}", ()),
    "docker": ("Start the container with GPUs; the host needs nvidia-container-toolkit", ("docker run --gpus all …",)),
    "podman": (
        "Start the container with GPUs; the host needs nvidia-container-toolkit",
        ("podman run --device nvidia.com/gpu=all …",),
    ),
    "apptainer": ("Start the container with GPUs", ("apptainer exec --nv …",)),
    "slurm": ("Ask Slurm for a GPU: this job has none", ("srun --gres=gpu:1 …", "sbatch --gres=gpu:1 …")),
    "wsl": ("Install NVIDIA's driver in Windows, none inside WSL, and update WSL", ("wsl.exe --update", "nvidia-smi.exe")),
    "windows": ("Install NVIDIA's driver, if this machine has an NVIDIA GPU", ("nvidia-smi",)),
    "linux": ("Install NVIDIA's driver, if this machine has an NVIDIA GPU", ("lspci | grep -i nvidia", "nvidia-smi")),
}

# The image leaves the driver's compute libraries out (NVIDIA Container Toolkit, "Driver Capabilities").
WITH_COMPUTE = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …"


def place(facts: Facts) -> str:
    """Where this process runs, as far as that decides what a person can do: the innermost place that has a way of its own."""
    host = None if isinstance(facts.host, Unknown) else facts.host
    if host is not None and isinstance(host.service, str):
        return host.service
    if host is not None and isinstance(host.container, str):
        return host.container if host.container in _WAYS else "docker"
    if "SLURM_JOB_ID" in facts.variables:
        return "slurm"
    platform = "" if isinstance(facts.python, Unknown) or isinstance(facts.python.platform, Unknown) else facts.python.platform
    return "wsl" if platform.endswith("-wsl") else "windows" if platform.startswith("win") else "linux"


def has_no_gpu(facts: Facts) -> bool:
    """Is it known that this machine has neither an NVIDIA driver nor an NVIDIA card, nor another vendor's GPU?"""
    if facts.driver is not None or isinstance(facts.gpus, Unknown) or facts.gpus:
        return False
    cards = 0 if isinstance(facts.nvidia, Unknown) or isinstance(facts.nvidia.cards, Unknown) else facts.nvidia.cards
    return cards == 0 and not facts.other_gpus


def give_gpu(facts: Facts) -> Fix:
    """How this process gets a GPU."""
    title, commands = _WAYS.get(place(facts), _WAYS["linux"])
    return Fix.display(title, *commands)


def in_container(facts: Facts) -> bool:
    """Is the driver somebody else's, outside?"""
    return place(facts) in ("kubernetes", "docker", "podman", "apptainer", "colab", "kaggle")


def restart_or_host(facts: Facts, title: str, *commands: str) -> Fix:
    """A remedy of the host, said as such where this is a container."""
    if in_container(facts):
        return Fix.display(f"On the host, not in this container: {title[0].lower()}{title[1:]}", *commands)
    return Fix.display(title, *commands)
