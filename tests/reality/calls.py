"""Calls whose class, code or arguments do not fit: made for real inside a stack's own Python, which needs this package's source on its path.

usage: calls.py > RECORDING.jsonl     the first line holds the releases, each other one what a call did
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from qvl_preflight.testing.files import write_checkpoint
from qvl_preflight.testing.own_code import CONFIG, write_own_code

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": 16, "max_position_embeddings": 8, "torch_dtype": "float32",
}  # fmt: skip
PACKAGES = ("torch", "transformers", "accelerate", "peft", "numpy", "jieba", "backoff", "vocos", "flash-attn", "einops")
_ELSEWHERE = {name: f"org/repo--{reference}" for name, reference in CONFIG["auto_map"].items()}
_ALLOWED = {"trust_remote_code": True}


def cases() -> Iterator[dict[str, Any]]:
    """Each: id, folder, what is in it, the class, the kwargs."""
    for name, kwargs in (("not said", {}), ("refused", {"trust_remote_code": False}), ("allowed", _ALLOWED)):
        yield {"id": f"own code, {name}", "kwargs": kwargs, "imports": ""}
    yield {"id": "own code of another repository", "kwargs": {}, "imports": "", "config": {**CONFIG, "auto_map": _ELSEWHERE}}
    yield {"id": "own code, another class", "kwargs": _ALLOWED, "imports": "", "loader": "AutoModel"}
    yield {"id": "own code, a dot in the folder", "kwargs": _ALLOWED, "imports": "", "folder": "Tiny-2.5"}
    for name, text in _IMPORTS.items():
        yield {"id": f"own code imports {name}", "kwargs": _ALLOWED, "imports": text}
    yield {
        "id": "own code, a file beside it imports",
        "kwargs": _ALLOWED,
        "imports": "from .helper import *",
        "files": {"helper": "import jieba\n"},
    }
    yield {"id": "a type of no release", "kwargs": {}, "config": {"model_type": "qwen99"}, "loader": "AutoModelForCausalLM"}
    for model_type in ("qwen2_vl", "mega", "qwen3"):
        yield {"id": f"type {model_type}", "kwargs": {}, "config": {"model_type": model_type}, "loader": "AutoModelForMaskedLM"}
    for loader in ("AutoModelForVision2Seq", "AutoModelForImageTextToText", "AutoModelForMultimodalLM", "AutoModelForSeq2SeqLM"):
        yield {"id": f"llama by {loader}", "kwargs": {}, "config": LLAMA, "loader": loader}
    for key in _ARGUMENTS:
        yield {"id": f"llama with {key}", "kwargs": {key: False}, "config": LLAMA, "loader": "AutoModelForCausalLM"}
    yield {"id": "llama base with bf16", "kwargs": {"bf16": True}, "config": LLAMA, "loader": "AutoModel"}


_IMPORTS = {
    "a package": "import jieba", "two packages": "import jieba\nimport backoff", "one in a try": "try:\n    import jieba\nexcept ImportError:\n    pass",
    "one in a function": "def f():\n    from jieba import cut", "one in a docstring": '"""\nimport jieba\n"""', "one for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import jieba",
    "flash-attn if it is there": "from transformers.utils import logging\ndef is_flash_attn_2_available(): return False\nif is_flash_attn_2_available():\n    from flash_attn import f\n    from flash_attn.p import g",
    "BeamSearchScorer": "from transformers import BeamSearchScorer", "find_pruneable_heads_and_indices": "from transformers.modeling_utils import find_pruneable_heads_and_indices",
    "DynamicCache": "from transformers.cache_utils import DynamicCache", "LlamaFlashAttention2": "from transformers.models.llama.modeling_llama import LlamaFlashAttention2",
    "transformers.deepspeed": "from transformers.deepspeed import is_deepspeed_zero3_enabled", "SampleOutput": "from transformers.generation.utils import SampleOutput",
    "is_torch_fx_available": "from transformers.utils.import_utils import is_torch_fx_available", "LossKwargs": "from transformers.utils import LossKwargs",
    "GradientCheckpointingLayer": "from transformers.modeling_layers import GradientCheckpointingLayer", "top_k_top_p_filtering": "from transformers import top_k_top_p_filtering",
    "a name in a try": "try:\n    from transformers import BeamSearchScorer, top_k_top_p_filtering\nexcept ImportError:\n    pass",
}  # fmt: skip
_ARGUMENTS = ("load_in_4bit", "use_auth_token", "resume_download", "bf16", "use_flash_attention_2", "use_kernels", "devices_map", "use_cache", "device")  # fmt: skip


def write(case: dict[str, Any], root: str) -> str:
    """The checkpoint of a case."""
    folder = os.path.join(root, case.get("folder", "tiny"))
    if "imports" in case:
        write_own_code(folder, case["imports"], case.get("config", CONFIG), **case.get("files", {}))
    else:
        write_checkpoint(folder, case["config"], [{"model.norm.weight": ("F32", (8,))}])
    return folder


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """What the call did: ok, or the exception."""
    import transformers.dynamic_module_utils as code

    with tempfile.TemporaryDirectory() as root:
        folder = write(case, root)
        code.HF_MODULES_CACHE = os.path.join(root, "modules")  # nothing is left of the case before
        for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
            del sys.modules[name]
        try:
            loader = case.get("loader", "AutoModelForCausalLM")
            scope: dict[str, Any] = {}
            exec(f"from transformers import {loader}", scope)
            scope[loader].from_pretrained(folder, **case["kwargs"])
        except Exception as error:
            text = str(error).replace(folder, "{folder}")
            return {"id": case["id"], "outcome": "error", "type": type(error).__name__, "message": text[:200]}
    return {"id": case["id"], "outcome": "ok"}


def main() -> None:
    """Record all cases, with nothing on standard input."""
    import transformers

    transformers.logging.set_verbosity_error()
    out, sys.stdout, sys.stdin = sys.stdout, sys.stderr, io.StringIO()
    installed: dict[str, Any] = {}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = False
    print(json.dumps({"packages": {**installed, "transformers": transformers.__version__}}), file=out)
    for case in cases():
        print(json.dumps(outcome(case), ensure_ascii=False), file=out, flush=True)


if __name__ == "__main__":
    main()
