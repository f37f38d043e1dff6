"""Checkpoints with true headers and empty bodies: their full size on paper, next to nothing on disk."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Mapping
from typing import Any

_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "I8": 1, "U8": 1, "F8_E4M3": 1}
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]  # name → safetensors dtype, shape


def write_safetensors(path: str, tensors: Tensors) -> int:
    """A safetensors file with a true header and a sparse body: its full size on paper, next to nothing on disk. Returns its data's bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = _WIDTHS[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    blob = json.dumps(header).encode()
    blob += b" " * (-len(blob) % 8)
    with open(path, "wb") as file:
        file.write(len(blob).to_bytes(8, "little") + blob)
        file.truncate(8 + len(blob) + end)
    return end


def write_checkpoint(folder: str, config: Mapping[str, Any], shards: list[Tensors]) -> int:
    """A checkpoint of one or several shards, with its config.json and index; of none: the config.json alone. Returns the bytes of its weights."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        file.write("{}\n")  # the files of a tokenizer are looked for, not read
    if not shards:
        return 0
    if len(shards) == 1:
        return write_safetensors(os.path.join(folder, "model.safetensors"), shards[0])
    total, weight_map = 0, dict[str, str]()
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        total += write_safetensors(os.path.join(folder, name), tensors)
        weight_map |= dict.fromkeys(tensors, name)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file)
    return total


_STORAGES = {
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I32": "IntStorage",
    "I8": "CharStorage",
    "U8": "ByteStorage",
}


def write_torch_file(path: str, tensors: Tensors) -> None:
    """A .bin file as torch.save writes it, of zeros; compressed here, so that they take no room."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", _pickled(tensors))
        for number, (dtype, shape) in enumerate(tensors.values()):
            size = _WIDTHS[dtype] * math.prod(shape)
            with archive.open(f"archive/data/{number}", "w", force_zip64=True) as entry:
                for start in range(0, size, 2**22):
                    entry.write(bytes(min(2**22, size - start)))


def _pickled(tensors: Tensors) -> bytes:
    """The pickle of a state dict, protocol 2, as torch writes it."""

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little")

    def text(value: str) -> bytes:
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()

    out = b"\x80\x02}("
    for key, (name, (dtype, shape)) in enumerate(tensors.items()):
        storage = (
            b"("
            + text("storage")
            + f"ctorch\n{_STORAGES[dtype]}\n".encode()
            + text(str(key))
            + text("cpu")
            + number(math.prod(shape))
            + b"tQ"
        )
        sizes = b"(" + b"".join(map(number, shape)) + b"t"
        strides = b"(" + b"".join(number(math.prod(shape[at + 1 :])) for at in range(len(shape))) + b"t"
        rest = number(0) + sizes + strides + b"\x89ccollections\nOrderedDict\n)Rt"
        out += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"R"
    return out + b"u."


def gptq_linear(
    name: str, out_features: int, in_features: int, *, bits: int = 4, group_size: int = 128, bias: bool = False
) -> Tensors:
    """The tensors of one GPTQ layer as AutoGPTQ writes them: packed along the inputs, zeros packed along the outputs."""
    groups = 1 if group_size == -1 else in_features // group_size
    packed = 32 // bits
    return {
        f"{name}.qweight": ("I32", (in_features // packed, out_features)),
        f"{name}.qzeros": ("I32", (groups, out_features // packed)),
        f"{name}.scales": ("F16", (groups, out_features)),
        f"{name}.g_idx": ("I32", (in_features,)),
        **({f"{name}.bias": ("F16", (out_features,))} if bias else {}),
    }
