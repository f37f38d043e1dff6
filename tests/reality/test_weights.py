"""The weights to the byte: what a stack's own from_pretrained leaves in memory, and what estimate_memory says of the same call.

Parameters, buffers and the states of a quantisation are summed up, each tensor once. That is ``tensor_bytes``; ``weights_bytes``, which a GPU's allocator
rounds up, is held against recordings of a GPU (tests/memory). Here everything is loaded on a CPU. What none of these stacks loads on one: AWQ outside of
gptqmodel 7 ("GPU is required"), the GPU kernels of GPTQ, fp8 as it is stored (turned back without a GPU), mxfp4, and HQQ, quanto and
compressed-tensors, whose packages they lack. torchao's layouts are not worked out: estimate_memory refuses to guess them. And bitsandbytes 0.48 dies of a signal in double quantisation on a CPU.
"""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import stacks
from test_reality import facts, scratch

from qvl_preflight.api import situation
from qvl_preflight.estimate import of_situation
from qvl_preflight.exceptions import InputError

WEIGHER = Path(__file__).with_name("weighed.py")
RECORDED = Path(__file__).parents[1] / "recordings" / "models"
FLOAT32, BFLOAT16 = {"__dtype__": "float32"}, {"__dtype__": "bfloat16"}
PLAIN = (
    "llama", "llama-biased", "llama-tied", "mistral", "mixtral", "qwen2", "qwen2-tied", "qwen3", "phi", "phi3", "gemma", "gemma2", "gpt2", "gpt-neox", "opt", "t5",
    "mixed", "stray", "both",
)  # fmt: skip
BIN = ("bin", "bin-mixed", "bin-tied", "bin-views", "bin-shards", "bin-sliced", "bin-saved")
UNKNOWN = {"bin-old": "do not tell their tensors", "bin-no-index": "holds no weights"}
SKIPPED: tuple[list[str], ...] = (
    [],
    ["lm_head", "o_proj"],
    ["mlp"],
    ["model.layers.0"],
    ["layers.0"],
    ["self_attn.q_proj"],
    ["proj"],
)
LATER = ("qwen3", "phi3", "gemma", "gemma2")  # not in transformers 4.37
MADE = {"legacy": (), "v4": ("bitsandbytes",), "modern": ("bitsandbytes", "double")}
# Families whose tables have sizes that config.json does not say in a way that is known: all but those is exact, and the estimate says so.
ABOUT = ("gpt-neox",)


def cases(stack: str) -> list[dict[str, Any]]:
    """Every layout that the stack loads on a CPU."""
    key = "dtype" if stack == "modern" else "torch_dtype"
    models = [name for name in (*PLAIN, *BIN, *UNKNOWN) if stack != "legacy" or name not in LATER]
    found = [(name, {key: dtype}) for name in models for dtype in (FLOAT32, BFLOAT16, "auto")]
    found += [(name, {}) for name in ("llama", "mixed")]
    for folder in (*sorted(RECORDED.iterdir()), Path("bin-gptq")):
        exllama = {
            "quantization_config": {"__class__": "GPTQConfig", "bits": 8 if "int8" in folder.name else 4, "use_exllama": False}
        }
        more = exllama if stack == "legacy" and "gptq" in folder.name else {}
        found += [(str(folder), {key: dtype, **more}) for dtype in (FLOAT32, BFLOAT16, "auto")]
    found += _of_bitsandbytes(stack, key, models) if stack != "legacy" else []
    return [{"id": f"{number}", "model": name, "kwargs": kwargs} for number, (name, kwargs) in enumerate(found)]


def _of_bitsandbytes(stack: str, key: str, models: list[str]) -> list[tuple[str, dict[str, Any]]]:
    def call(dtype: Any, **fields: Any) -> dict[str, Any]:
        return {key: dtype, "quantization_config": {"__class__": "BitsAndBytesConfig", **fields}}

    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    layouts: list[dict[str, Any]] = [
        {"load_in_4bit": True}, nf4, {**nf4, "bnb_4bit_quant_storage": "bfloat16"}, {"load_in_8bit": True}, {"load_in_8bit": True, "llm_int8_has_fp16_weight": True},
    ]  # fmt: skip
    if stack == "modern":
        layouts.append({**nf4, "bnb_4bit_use_double_quant": True})
    found = [("llama", call(dtype, **fields)) for fields in layouts for dtype in (FLOAT32, BFLOAT16)]
    widths: tuple[dict[str, Any], ...] = ({"load_in_4bit": True}, {"load_in_8bit": True})
    found += [(name, call(BFLOAT16, **fields)) for fields in widths for name in models if name not in UNKNOWN]
    found += [("llama", call(BFLOAT16, **fields, llm_int8_skip_modules=named)) for fields in widths for named in SKIPPED]
    stored = ["nf4", "nf4-bf16", "int8", *(["nf4-double"] if stack == "modern" else [])]
    return found + [(f"bnb-{name}", {key: dtype}) for name in stored for dtype in (FLOAT32, BFLOAT16, "auto")]


@lru_cache(maxsize=4)
def weighed(stack: str) -> list[dict[str, Any]]:
    """All cases of a stack, loaded in one process."""
    folder = scratch() / f"weights-{stack}"
    folder.mkdir(exist_ok=True)
    python, env = stacks.command(stack, scratch())
    lines = "".join(json.dumps(case) + "\n" for case in cases(stack))
    command = [*python, str(WEIGHER), str(folder), *MADE[stack]]
    done = subprocess.run(command, input=lines, env=env, check=True, capture_output=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for one in found:
        one["path"] = one["model"] if "/" in one["model"] else str(folder / one["model"])
    return found


def parted(stack: str, one: dict[str, Any]) -> str | None:
    """Where the estimate is not what was weighed."""
    real = sum(size for *_, size in one["tensors"])
    case = situation(one["path"], None, None, None, None, facts(stack), {"device_map": "cpu", **one["kwargs"]})
    try:
        found = of_situation(case, None, None)
    except InputError as error:
        return f"{one['path']} {one['kwargs']}: {real}, refused: {error}"
    buffers = sum(size for kind, *_, size in one["tensors"] if kind == "buffer")
    about = one["model"] in ABOUT and found.notes and abs(found.tensor_bytes - real) <= buffers
    return None if about or found.tensor_bytes == real else f"{one['path']} {one['kwargs']}: {real}, estimated {found.tensor_bytes}"


@pytest.mark.parametrize("stack", list(stacks.STEPS))
def test_every_layout_to_the_byte(stack: str) -> None:
    """Also tied and stray tensors, dtypes that are mixed in one file, biases that a class lacks, and tables that it makes for itself."""
    loaded = [one for one in weighed(stack) if "tensors" in one and one["model"] not in UNKNOWN]
    assert [why for one in loaded if (why := parted(stack, one))] == []
    assert len(loaded) >= {"legacy": 70, "v4": 140, "modern": 170}[stack]


@pytest.mark.parametrize("stack", list(stacks.STEPS))
def test_what_did_not_load_is_what_a_cpu_cannot(stack: str) -> None:
    """A case that fails for another reason weighs nothing, and would go unseen."""
    expected = (
        "GPU is required",
        "No GPU or XPU",
        "No valid quant linear",
        "requires auto-awq",
        "Unknown AWQLinearVersion",
        "no file named",
        "int8",
    )
    failed = [one for one in weighed(stack) if "error" in one]
    assert [one for one in failed if not any(words in one["error"] for words in expected)] == []


@pytest.mark.parametrize("stack", list(stacks.STEPS))
@pytest.mark.parametrize("model", UNKNOWN)
def test_files_that_do_not_tell_are_said_to_be_unknown(stack: str, model: str) -> None:
    """A pickle from before torch 1.6 is loaded, and not read here; shards without an index are not loaded."""
    one = next(one for one in weighed(stack) if one["model"] == model)
    case = situation(one["path"], None, None, None, None, facts(stack), {"device_map": "cpu", "torch_dtype": "float16"})
    with pytest.raises(InputError, match=UNKNOWN[model]):
        of_situation(case, None, None)
