"""Machines by name: what differs from one sound A100, as sections of facts.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qvl_preflight.facts import SCHEMA
from qvl_preflight.testing.trouble import A100, ALONE, HOST, T4, TROUBLE, TWO

_H100 = {
    "index": 0,
    "uuid": "GPU-00000000-0000-0000-0000-00000000f100",
    "name": "NVIDIA H100 80GB HBM3",
    "capability": [9, 0],
    "total_bytes": 85017493504,
    "free_bytes": 84400000000,
    "mig": False,
}
_SMALL = {**T4, "name": "NVIDIA GeForce GTX 1650", "total_bytes": 4 * 2**30, "free_bytes": 39 * 2**30 // 10}
_RANK_1 = {**ALONE, "launcher": "torchrun", "world_size": 2, "rank": 1, "local_rank": 1, "local_world_size": 2}
_RANK_1_ENV = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
_TOOLS = {"nvcc": "13.0", "cxx": True, "ninja": True, "network": True, "cutlass": False}
BASE: dict[str, Any] = {
    "schema": SCHEMA, "packages_complete": True, "gpus": [A100], "env": {}, "launch": ALONE, "build": _TOOLS,
    "host": HOST,
}  # fmt: skip

HARDWARE: Mapping[str, dict[str, Any]] = {
    "a100": {},
    "crowded": {"gpus": [{**A100, "free_bytes": 5 * 2**29}]},
    "two-gpus": {"gpus": TWO},
    "h100": {"gpus": [_H100]},
    "h100-offline": {"gpus": [_H100], "build": {**_TOOLS, "network": False}},
    "t4": {"gpus": [T4]},
    "small-gpu": {"gpus": [_SMALL]},
    "no-gpu": {"gpus": [], "driver": None, "build": {**_TOOLS, "nvcc": False}},
    "mac": {
        "python": {"version": "3.11.5", "implementation": "CPython", "platform": "macos-arm64"},
        "gpus": [],
        "driver": None,
        "torch": {"cuda_build": False, "hip_build": False},
    },
    "hidden": {"env": {"CUDA_VISIBLE_DEVICES": "1"}},
    "repeated": {"env": {"CUDA_VISIBLE_DEVICES": "0,0"}},
    "rank-1-of-2": {
        "gpus": TWO,
        "launch": _RANK_1,
        "env": _RANK_1_ENV,
    },
    "rank-without-nvcc": {"gpus": TWO, "launch": _RANK_1, "env": _RANK_1_ENV, "build": {**_TOOLS, "nvcc": False}},
    "four-processes-two-gpus": {
        "gpus": TWO,
        "launch": {**ALONE, "launcher": "accelerate", "world_size": 4, "rank": None, "local_rank": None, "local_world_size": 4},
    },
    "zero3": {"gpus": TWO, "launch": {**_RANK_1, "launcher": "deepspeed", "deepspeed_zero": 3}},
    "a100-cpu-torch": {"torch": {"cuda_build": False, "hip_build": False}},
    "a100-old-driver": {"driver": {"version": "470.57.02", "cuda": "11.4"}},
    **TROUBLE,
}
