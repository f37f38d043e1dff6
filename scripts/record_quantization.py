"""Makes calls with all sorts of quantisation settings for real, on a machine without a GPU, and keeps what happened.

usage: python scripts/record_quantization.py MODEL OUT.json

MODEL: a tiny plain checkpoint (tests/reality makes one). Run it with the Python of the stack that is asked; old releases of transformers may come first
on PYTHONPATH. Replayed by tests/stack/test_quantization_recordings.py, which holds the calls.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
import warnings
from typing import Any

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests"))

PACKAGES = (
    "torch", "transformers", "accelerate", "peft", "optimum", "auto-gptq", "gptqmodel", "bitsandbytes", "autoawq", "torchao", "triton", "kernels", "hqq",
    "compressed-tensors", "scipy", "optimum-quanto", "eetq", "aqlm",
)  # fmt: skip


def installed() -> dict[str, str | bool]:
    """The packages that decide, False where one is not there."""
    found: dict[str, str | bool] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = False
    return found


def live(value: Any) -> Any:
    """The plain form of a configuration object as the object."""
    import transformers

    if isinstance(value, dict) and "__class__" in value:
        return getattr(transformers, value["__class__"])(**{key: item for key, item in value.items() if key != "__class__"})
    return value


def outcome(model: str, kwargs: dict[str, Any]) -> list[str] | None:
    """What one call raises, ["ok", ""] for nothing; None where the release has no such class."""
    import transformers

    classes = [value["__class__"] for value in kwargs.values() if isinstance(value, dict) and "__class__" in value]
    if not all(hasattr(transformers, name) for name in classes):
        return None
    try:
        transformers.AutoModelForCausalLM.from_pretrained(model, **{key: live(value) for key, value in kwargs.items()})
    except Exception as error:
        return [type(error).__name__, " ".join(str(error).split())[:120]]
    return ["ok", ""]


def main() -> None:
    """Record every call."""
    from quantization_calls import CALLS, SETTINGS

    source, out = sys.argv[1:3]
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    warnings.simplefilter("ignore")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    with open(os.path.join(source, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    runs = []
    with tempfile.TemporaryDirectory() as root:
        for name, settings in SETTINGS.items():
            folder = shutil.copytree(source, os.path.join(root, name))
            with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
                json.dump({**config, **({"quantization_config": settings} if settings is not None else {})}, file)
        for name, kwargs in CALLS:
            result = outcome(os.path.join(root, name), kwargs)
            if result is not None:
                runs.append({"model": name, "kwargs": kwargs, "type": result[0], "text": result[1].replace(root, "")})
    with open(out, "w", encoding="utf-8") as file:
        head = {"packages": installed(), "cuda_build": torch.version.cuda or False}
        lines = ",\n  ".join(json.dumps(run) for run in runs)
        file.write(json.dumps(head)[:-1] + f', "runs": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
