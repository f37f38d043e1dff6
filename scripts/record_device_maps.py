"""What the installed release does with odd device_maps, on a CPU: ``python scripts/record_device_maps.py MODEL OUT.json``.

MODEL is a folder with a tiny checkpoint in safetensors; a copy in .bin is made of it. `tests/stack/test_device_maps.py` holds the plan against it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import warnings
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "mps": {"device_map": "mps"}, "xpu": {"device_map": "xpu"}, "npu": {"device_map": "npu"}, "hpu": {"device_map": "hpu"}, "xpu by number": {"device_map": "xpu:0"},
    "mps in a map": {"device_map": {"": "mps"}}, "npu in a map": {"device_map": {"": "npu:0"}}, "a negative number in a map": {"device_map": {"": -1}}, "a negative number": {"device_map": -1},
    "None in a map": {"device_map": {"": None}}, "a list in a map": {"device_map": {"": [0]}}, "a list": {"device_map": ["cpu"]}, "True": {"device_map": True}, "False": {"device_map": False},
    "a float": {"device_map": 1.0}, "no letters": {"device_map": ""}, "an empty map": {"device_map": {}}, "a capital": {"device_map": "Auto"}, "capitals": {"device_map": "CPU"},
    "all on disk": {"device_map": {"": "disk"}}, "partly on disk": {"device_map": {"model": "cpu", "lm_head": "disk"}}, "partly on disk, with a folder": {"device_map": {"model": "cpu", "lm_head": "disk"}, "offload_folder": "offload"},
    "the rest on the CPU, a block on disk": {"device_map": {"": "cpu", "model.layers.1": "disk"}},
    "a module on the CPU, a block of it on disk": {"device_map": {"model": "cpu", "model.layers.1": "disk", "lm_head": "cpu"}},
    "the rest on disk, a block on the CPU": {"device_map": {"": "disk", "model.layers.1": "cpu"}},
    "an unknown part on disk": {"device_map": {"": "cpu", "transformer.h": "disk"}},
    "holes, and a part on disk": {"device_map": {"model.layers.0": "cpu", "lm_head": "disk"}},
    "holes": {"device_map": {"model.layers.0": "cpu", "lm_head": "cpu"}}, "a hole": {"device_map": {"model": "cpu"}}, "an unknown name": {"device_map": {"": "cpu", "transformer.h": "cpu"}},
    "a number as text": {"device_map": "auto", "max_memory": {"0": "1GiB", "cpu": "1GiB"}}, "a negative GPU": {"device_map": "auto", "max_memory": {-1: "1GiB", "cpu": "1GiB"}}, "a GPU's name": {"device_map": "auto", "max_memory": {"cuda:0": "1GiB"}},
    "10G": {"device_map": "auto", "max_memory": {"cpu": "10G"}}, "10TB": {"device_map": "auto", "max_memory": {"cpu": "10TB"}}, "a blank": {"device_map": "auto", "max_memory": {"cpu": "10 GB"}}, "a float of bytes": {"device_map": "auto", "max_memory": {"cpu": 1e9}},
    "a negative size": {"device_map": "auto", "max_memory": {"cpu": "-1GB"}}, "no limits": {"device_map": "auto", "max_memory": {}}, "a list of limits": {"device_map": "auto", "max_memory": ["10GiB"]}, "one limit": {"device_map": "auto", "max_memory": "10GiB"},
    "no size": {"device_map": "auto", "max_memory": {"cpu": None}}, "words": {"device_map": "auto", "max_memory": {"cpu": "ten"}}, "too small": {"device_map": "auto", "max_memory": {"cpu": 1000}}, "a limit for the disk": {"device_map": "auto", "max_memory": {"cpu": "1GiB", "disk": "10GiB"}},
    "balanced on the CPU": {"device_map": "balanced", "max_memory": {"cpu": "1GiB"}}, "low_cpu_mem_usage": {"device_map": "cpu", "low_cpu_mem_usage": False},
}  # fmt: skip
TENSOR_PARALLEL: dict[str, dict[str, Any]] = {
    "tp_plan": {"tp_plan": "auto"},
    "tp_plan beside a map": {"tp_plan": "auto", "device_map": "cpu"},
}
OF_BIN = ("all on disk", "partly on disk", "partly on disk, with a folder", "no limits", "too small")


def main(model: str, out: str) -> None:
    """Every case, each in a folder of its own."""
    import accelerate
    import torch
    import transformers

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    release = tuple(map(int, transformers.__version__.split(".")[:2]))
    cases = [(name, "safetensors", kwargs) for name, kwargs in {**CASES, **(TENSOR_PARALLEL if release >= (4, 50) else {})}.items()]
    cases += [(name, "bin", CASES[name]) for name in OF_BIN]
    with tempfile.TemporaryDirectory() as root:
        os.chdir(root)
        folders = {"safetensors": model, "bin": _as_bin(model, root)}
        found = [[name, kind, repr(kwargs), *_outcome(folders[kind], kwargs)] for name, kind, kwargs in cases]
    versions = {
        "transformers": transformers.__version__,
        "accelerate": accelerate.__version__,
        "torch": torch.__version__.partition("+")[0],
    }
    with open(out, "w", encoding="utf-8") as file:
        file.write(json.dumps(versions)[:-1] + ', "cases": [\n' + ",\n".join(f"  {json.dumps(case)}" for case in found) + "\n]}\n")


def _as_bin(model: str, root: str) -> str:
    import torch
    from safetensors.torch import load_file

    folder = os.path.join(root, "bin")
    os.makedirs(folder)
    shutil.copy(os.path.join(model, "config.json"), folder)
    torch.save(load_file(os.path.join(model, "model.safetensors")), os.path.join(folder, "pytorch_model.bin"))
    return folder


def _outcome(folder: str, kwargs: dict[str, Any]) -> tuple[str, Any]:
    """The exception's type and the beginning of its text, or ``ok`` and the devices."""
    from transformers import AutoModelForCausalLM

    shutil.rmtree("offload", ignore_errors=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, **kwargs)
    except Exception as error:
        return type(error).__name__, str(error)[:150]
    return "ok", sorted({str(tensor.device) for tensor in model.parameters()})


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]))
