"""Machines with trouble, by name: what differs from one sound A100, as sections of facts.json. See `qvl_preflight.testing.machine`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

A100: dict[str, Any] = {
    "index": 0,
    "uuid": "GPU-00000000-0000-0000-0000-00000000a100",
    "name": "NVIDIA A100-SXM4-80GB",
    "capability": [8, 0],
    "total_bytes": 85899345920,
    "free_bytes": 84987740160,
    "mig": False,
}
T4: dict[str, Any] = {**A100, "uuid": "GPU-00000000-0000-0000-0000-0000000000t4", "name": "Tesla T4", "capability": [7, 5], "total_bytes": 15843721216, "free_bytes": 15700000000}  # fmt: skip
_RTX_5090 = {
    **A100,
    "name": "NVIDIA GeForce RTX 5090",
    "capability": [12, 0],
    "total_bytes": 34190917632,
    "free_bytes": 33600000000,
}
TWO = [A100, {**A100, "index": 1, "uuid": "GPU-00000000-0000-0000-0000-00000001a100"}]
ALONE: dict[str, Any] = {
    "launcher": "python",
    "world_size": 1,
    "rank": 0,
    "local_rank": 0,
    "local_world_size": 1,
    "notebook": False,
    "deepspeed_zero": False,
    "fsdp": False,
}
HOST: dict[str, Any] = {
    "cpu_count": 16, "ram_total_bytes": 137438953472, "ram_available_bytes": 120000000000, "disk_free_bytes": 900000000000, "cpu_flags": ["avx2", "avx512f"],
    "container": False, "service": False, "other_gpus": [],
}  # fmt: skip
_DOCKER = {**HOST, "container": "docker"}
# A driver as it should be, and what can be amiss with it.
_SOUND: dict[str, Any] = {
    "kernel_module": "580.95.05", "libcuda": "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05", "nodes": ["nvidia-uvm", "nvidia0", "nvidiactl"], "locked_nodes": [],
    "nvml_error": False, "lost": [], "cards": 1, "bound_to": "nvidia", "secure_boot": False,
}  # fmt: skip
_NONE: dict[str, Any] = {"gpus": [], "driver": None}
_SLICES = [{"uuid": f"MIG-{digit * 8}", "name": "NVIDIA A100-SXM4-80GB MIG 3g.40gb", "total_bytes": 42000000000, "free_bytes": 41900000000} for digit in "12"]  # fmt: skip
_PARTITIONED = {**A100, "mig": True, "slices": _SLICES}


def _driver(**differs: Any) -> dict[str, Any]:
    return {**_SOUND, **differs}


TROUBLE: Mapping[str, dict[str, Any]] = {
    "driver-not-loaded": {**_NONE, "nvidia": _driver(kernel_module=False, libcuda=False, nodes=[], bound_to="", nvml_error=9)},
    "container": {"host": _DOCKER, "nvidia": _SOUND},
    "container-without-gpus": {**_NONE, "host": _DOCKER, "nvidia": _driver(libcuda=False, nodes=[], nvml_error=None)},
    "driver-mismatch": {"gpus": None, "driver": None, "nvidia": _driver(libcuda="/usr/lib/libcuda.so.580.126.09", nvml_error=18)},
    "libcuda-missing": {"nvidia": _driver(libcuda=False)},
    "stub-libcuda": {"nvidia": _driver(libcuda="/usr/local/cuda-13.0/lib64/stubs/libcuda.so")},
    "locked-nodes": {"gpus": [], "nvidia": _driver(locked_nodes=["nvidia0"])},
    "uvm-missing": {"host": _DOCKER, "nvidia": _driver(nodes=["nvidia0", "nvidiactl"])},
    "blackwell-old-wheel": {
        "gpus": [_RTX_5090],
        "driver": {"version": "570.86.10", "cuda": "12.8"},
        "torch": {
            "cuda_build": "12.1",
            "hip_build": False,
            "arch_list": ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"],
        },
    },
    "amd-cuda-torch": {**_NONE, "host": {**HOST, "other_gpus": ["amd"]}},
    "lost-gpu": {"gpus": None, "nvidia": _driver(lost=[1])},
    "silent-driver": {"gpus": None, "driver": None, "nvidia": _driver(nvml_error=999), "host": _DOCKER},
    "exclusive-gpu": {"gpus": [{**A100, "compute_mode": "exclusive-process", "processes": [{"pid": 4242, "name": "python"}]}]},
    "held-gpu": {"gpus": [{**A100, "free_bytes": 2**31, "processes": [{"pid": 4242, "name": "python", "used_bytes": 80 * 2**30}]}]},
    "faulty-gpu": {"gpus": [{**A100, "ecc_errors": 3, "row_remap": "pending"}]},
    "mig": {"gpus": [_PARTITIONED]},
    "mig-without-instance": {"gpus": [{**_PARTITIONED, "slices": []}]},
    "two-mig-instances": {"gpus": [_PARTITIONED], "env": {"CUDA_VISIBLE_DEVICES": "MIG-11111111,MIG-22222222"}},
    "list-ends-early": {"gpus": TWO, "env": {"CUDA_VISIBLE_DEVICES": "0,7,1"}},
    "mixed-gpus": {"gpus": [A100, {**T4, "index": 1}]},
    "mixed-gpus-by-bus": {"gpus": [A100, {**T4, "index": 1}], "env": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}},
    "bad-device-order": {"env": {"CUDA_DEVICE_ORDER": "pci_bus_id"}},
    "misspelt-variable": {"env_misspelt": {"CUDA_VISIBILE_DEVICES": "0"}},
    "set-late": {
        "gpus": TWO,
        "env": {"CUDA_VISIBLE_DEVICES": "1"},
        "torch": {"cuda_build": "13.0", "hip_build": False, "device_count": 2, "current_device": 0},
    },
    "rank-3-of-4": {
        "gpus": TWO,
        "launch": {**ALONE, "launcher": "torchrun", "world_size": 4, "rank": 3, "local_rank": 3, "local_world_size": 4},
        "env": {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "none"},
    },
    "notebook": {"launch": {**ALONE, "launcher": "notebook", "notebook": True}},
    "stale-ranks": {"launch": {**ALONE, "launcher": "notebook", "notebook": True}, "env": {"LOCAL_RANK": "0", "WORLD_SIZE": "2"}},
    "slurm-with-gpu": {"env": {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "0"}},
    "slurm-without-gpu": {"env": {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}},
    "offline-without-network": {"env": {"HF_HUB_OFFLINE": "1"}, "build": {"network": False}},
    "offline": {"env": {"HF_HUB_OFFLINE": "1"}},
    "offline-in-other-words": {"env": {"HF_HUB_OFFLINE": "enabled"}},
    "mirror-set-late": {"env_late": {"HF_ENDPOINT": "https://hf-mirror.com"}},
    "bare-mirror": {"env": {"HF_ENDPOINT": "hf-mirror.com"}},
    "two-torches": {
        "packages_duplicates": {"torch": ["2.14.1 (user site)", "2.11.0 (site-packages)"]},
        "python": {"version": "3.12.3", "implementation": "CPython", "platform": "linux-x86_64", "environment": "conda"},
    },
}
