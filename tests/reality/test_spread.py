"""The map of "auto" and its kin, held against what accelerate and transformers answer themselves: 300 random configurations with two budgets each.

The whole way is compared: the call is planned for a checkpoint of these tensors on a machine with eight GPUs, and its map is that of the real functions.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stacks
from test_reality import facts

from qvl_preflight.api import situation
from qvl_preflight.facts import Facts
from qvl_preflight.planner import make_plan
from qvl_preflight.testing import machine, write_checkpoint
from qvl_preflight.unknown import Unknown

SPREADER = Path(__file__).with_name("spread.py")
CONFIGURATIONS = 300
SAFETENSORS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
GPU = {"name": "NVIDIA H100 80GB HBM3", "total_bytes": 2**40, "free_bytes": 2**40, "capability": [9, 0]}


def eight_gpus(stack: str) -> Facts:
    """A machine with the packages of a stack."""
    plain = machine("h100").to_dict()
    return machine(
        "h100",
        packages=facts(stack).to_dict()["packages"],
        gpus=[{**plain["gpus"][0], **GPU, "index": number} for number in range(8)],
    )


def asked(stack: str) -> list[dict[str, Any]]:
    """What the stack answers, all of it in one process."""
    python, env = stacks.command(stack, Path("/nowhere"))
    done = subprocess.run(
        [*python, str(SPREADER), "2026", str(CONFIGURATIONS)], env=env, check=True, capture_output=True, text=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def planned(folder: Path, machine: Facts, line: dict[str, Any], strategy: str, limits: list[list[Any]], key: str) -> Any:
    """The plan's map, in accelerate's words; the reason where it is not known."""
    kwargs: dict[str, Any] = {"device_map": strategy, "max_memory": dict(map(tuple, limits)), key: {"__dtype__": line["dtype"]}}
    if line["quantization"]:
        kwargs["quantization_config"] = {"__class__": "BitsAndBytesConfig", **line["quantization"]}
    found = make_plan(situation(str(folder), None, None, None, None, machine, kwargs)).device_map
    if isinstance(found, Unknown):
        return found.reason
    return {name: int(device[5:]) if device.startswith("cuda:") else device for name, device in found.items()}


@pytest.mark.parametrize("stack", ["modern", "legacy"])
def test_maps_of_random_configurations(stack: str, tmp_path: Path) -> None:
    """Module for module; where all is on one device, the map says no more."""
    parted, compared, devices = [], 0, set[int]()
    gpus, key = eight_gpus(stack), "dtype" if stack == "modern" else "torch_dtype"
    for number, line in enumerate(asked(stack)):
        folder = tmp_path / str(number)
        config = {**line["config"], "architectures": [line["class"]]}
        tensors = {name: (SAFETENSORS[line["dtype"]], tuple(shape)) for name, shape in line["tensors"]}
        write_checkpoint(str(folder), config, [tensors])
        for strategy, limits, answer in line["maps"]:
            ours = planned(folder, gpus, line, strategy, limits, key)
            compared += 1
            devices.add(len(set(answer.values())) if isinstance(answer, dict) else 0)
            if ours != answer:
                parted.append((line["class"], line["dtype"], line["quantization"], strategy, limits, ours, answer))
    assert parted == []
    assert compared == 2 * CONFIGURATIONS
    assert devices >= {1, 2, 3, 4, 5}
