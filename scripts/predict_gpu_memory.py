"""What is expected of the loads and steps that record_gpu_memory.py measures: a line a case, to be committed before anything is measured.

usage, with transformers 5 installed; nothing is loaded, no GPU is needed:
       PYTHONPATH=src python scripts/predict_gpu_memory.py DATE OUT SHAPE:QUANT…      a line a case
       PYTHONPATH=src python scripts/predict_gpu_memory.py shapes OUT                 the config and the tensors of every shape, for tests
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from memory_shapes import SHAPES, Case, foretold

from qvl_preflight.memory.asked import Asked, read_asked
from qvl_preflight.memory.one_gpu import estimate
from qvl_preflight.plan import Quantization
from qvl_preflight.safetensors import Tensor
from qvl_preflight.testing.checkpoints import described
from qvl_preflight.unknown import Unknown

GROUP = 128
BITSANDBYTES: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"},
    "int8": {"load_in_8bit": True},
}
NAMES = {"torch.bfloat16": "BF16", "torch.float16": "F16", "torch.float32": "F32"}


def made(shape: str) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...]]]]:
    """The config and the tensors of a shape, from a model without memory."""
    import torch
    import transformers

    kind, fields = SHAPES[shape]
    config = getattr(transformers, kind)(**fields)
    loader = transformers.AutoModelForImageTextToText if hasattr(config, "vision_config") else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        model = loader.from_config(config, dtype=torch.bfloat16)
    said = json.loads(config.to_json_string(use_diff=False))
    return said, [(name, tuple(weight.shape)) for name, weight in model.state_dict().items()]


def stored(shape: str, tensors: list[tuple[str, tuple[int, ...]]]) -> list[Tensor]:
    """As they lie in the checkpoint."""
    out: list[Tensor] = []
    for name, size in tensors:
        base = name.removesuffix("weight")
        if shape.endswith(("gptq", "awq", "bnb4")) and name.endswith("proj.weight"):
            out += _packed(shape, base, *size)
        else:
            out.append(tensor(name, size, "F16" if shape.endswith(("gptq", "awq")) else "BF16"))
    return out


def tensor(name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    """One, without its bytes."""
    count = 1
    for size in shape:
        count *= size
    return Tensor(name, dtype, shape, count * {"F16": 2, "BF16": 2, "F32": 4, "I32": 4, "U8": 1}[dtype])


def _packed(shape: str, base: str, rows: int, columns: int) -> list[Tensor]:
    groups = columns // GROUP
    if shape.endswith("bnb4"):
        count = rows * columns
        state = [tensor(f"{base}weight.absmax", (count // 64,), "F32"), tensor(f"{base}weight.quant_map", (16,), "F32")]
        return [tensor(f"{base}weight", (count // 2, 1), "U8"), *state]
    zeros, scales = tensor(f"{base}qzeros", (groups, rows // 8), "I32"), tensor(f"{base}scales", (groups, rows), "F16")
    if shape.endswith("awq"):
        return [tensor(f"{base}qweight", (columns, rows // 8), "I32"), zeros, scales]
    words = tensor(f"{base}qweight", (columns // 8, rows), "I32")
    return [words, zeros, scales, tensor(f"{base}g_idx", (columns,), "I32"), tensor(f"{base}bias", (rows,), "F16")]


def quantization(shape: str, quant: str, backend: str | None) -> Quantization | None:
    """As the call has it."""
    if shape.endswith("bnb4"):
        return Quantization("bitsandbytes", BITSANDBYTES["nf4"], pre_quantized=True)
    if shape.endswith(("gptq", "awq")):
        return Quantization(shape[-4:].strip("-"), {"bits": 4, "group_size": GROUP, "backend": backend}, pre_quantized=True)
    return Quantization("bitsandbytes", BITSANDBYTES[quant], pre_quantized=False) if quant in BITSANDBYTES else None


def asked(case: Case, patch: int) -> Asked | None:
    """A case as it is asked for."""
    sizes: dict[str, Any] = {"batch_size": case["batch"], "sequence_length": case["seq"]}
    if case.get("image"):
        sizes |= {"images": case["batch"], "image_size": [side * patch for side in case["image"][1:]]}
    if case["action"] in ("forward", "generate"):
        return read_asked({**sizes, "max_new_tokens": 16 if case["action"] == "generate" else 0, "use_cache": True}, None)
    more = {"gradient_checkpointing": case["gc"], "gradient_checkpointing_kwargs": {"use_reentrant": False}, "amp": "bf16"}
    return read_asked(None, {**sizes, **more, "method": case["action"], "optimizer": case.get("optimizer", "adamw_torch")})


def lines(
    date: str, shape: str, quant: str, cases: list[Case], model: tuple[dict[str, Any], list[tuple[str, tuple[int, ...]]]]
) -> list[Case]:
    """What is expected of each case."""
    config, tensors = model
    checkpoint = described(tuple(stored(shape, tensors)), **config)
    patch = (config.get("vision_config") or {}).get("patch_size", 14)
    out = []
    for case in cases:
        dtype = case.get("dtype", "float16" if shape.endswith(("gptq", "awq")) else "bfloat16")
        how = quantization(shape, quant, case.get("backend"))
        found = estimate(checkpoint, dtype, how, case.get("attn", "sdpa"), asked(case, patch), (9, 0), release5=True)
        peak = None if isinstance(found.peak_bytes, Unknown) else found.peak_bytes
        why = {"unknown": found.peak_bytes.reason} if isinstance(found.peak_bytes, Unknown) else {}
        out.append(
            {"date": date, "model": shape, "quant": quant, **case, "weights_bytes": found.weights_bytes, "peak_bytes": peak, **why}
        )
    return out


def write_shapes(out: Path) -> None:
    """All of them: what a class has that its config does not say is left as it is, so that tests need no transformers."""
    found = {}
    for shape in SHAPES:
        config, tensors = made(shape)
        for part in (config, config.get("text_config") or {}, config.get("vision_config") or {}):
            for key in [key for key, value in part.items() if value in (None, [], {})]:
                del part[key]
        found[shape] = {"config": config, "tensors": {name: list(size) for name, size in tensors}}
    out.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "shapes":
        write_shapes(Path(sys.argv[2]))
        sys.exit()
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    with Path(sys.argv[2]).open("w", encoding="utf-8") as file:
        for wanted in sys.argv[3:]:
            name, _, kind = wanted.partition(":")
            for line in lines(sys.argv[1], name, kind or "none", foretold(name, kind or "none"), made(name)):
                file.write(json.dumps(line) + "\n")
