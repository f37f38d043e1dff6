"""Checkpoints of random weights for record_gpu_memory.py, and the quantization_config that they are loaded with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memory_shapes import SHAPES


def loader(shape: str) -> Any:
    """The auto class of a shape."""
    import transformers

    return transformers.AutoModelForImageTextToText if "vl" in shape or "llava" in shape else transformers.AutoModelForCausalLM


def make(shape: str, root: str) -> None:
    """Write a checkpoint of random weights."""
    import torch
    import transformers

    folder = Path(root) / shape
    if folder.exists():
        return
    kind, fields = SHAPES[shape]
    with torch.device("cuda"):
        model = loader(shape).from_config(getattr(transformers, kind)(**fields), dtype=torch.bfloat16)
    if shape.endswith(("gptq", "awq")):
        write_words(model, folder, shape[-4:].strip("-"))
    elif shape.endswith("bnb4"):
        plain = folder.with_name(f"{shape}-plain")
        model.save_pretrained(plain)
        how = quantisation("nf4", None)
        loader(shape).from_pretrained(plain, dtype=torch.bfloat16, device_map={"": 0}, quantization_config=how).save_pretrained(
            folder
        )
    else:
        model.save_pretrained(folder, max_shard_size="4GB")


def write_words(model: Any, folder: Path, method: str, group: int = 128) -> None:
    """The same model in 4 bits as GPTQ or AWQ store them, its words drawn at random."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    tensors: dict[str, Any] = {}
    for name, weight in model.state_dict().items():
        if name.endswith("proj.weight"):
            rows, columns = weight.shape
            base = name[: -len(".weight")]
            words = (columns // 8, rows) if method == "gptq" else (columns, rows // 8)
            tensors[f"{base}.qweight"] = torch.randint(-(2**31), 2**31 - 1, words, dtype=torch.int32)
            tensors[f"{base}.qzeros"] = torch.full((columns // group, rows // 8), 0x77777777, dtype=torch.int32)
            tensors[f"{base}.scales"] = (torch.rand(columns // group, rows) * 0.01 + 0.001).half()
            if method == "gptq":
                tensors[f"{base}.g_idx"] = (torch.arange(columns) // group).int()
                tensors[f"{base}.bias"] = torch.zeros(rows, dtype=torch.float16)
        elif not name.endswith("proj.bias"):
            tensors[name] = weight.half().cpu().contiguous()
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = model.config.to_dict()
    config |= {"architectures": [type(model).__name__], "torch_dtype": "float16"}
    config.pop("dtype", None)
    own = {"desc_act": False, "sym": True} if method == "gptq" else {"zero_point": True, "version": "gemm"}
    config["quantization_config"] = {"bits": 4, "group_size": group, "quant_method": method, **own}
    (folder / "config.json").write_text(json.dumps(config, indent=1, default=str))


def quantisation(quant: str, backend: str | None) -> Any:
    """The quantization_config of a case, or None."""
    import torch
    import transformers

    if quant == "awq":
        return None
    if backend:
        return transformers.GPTQConfig(bits=4, backend=backend)
    if quant == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    if quant == "none":
        return None
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=quant == "nf4dq",
    )
