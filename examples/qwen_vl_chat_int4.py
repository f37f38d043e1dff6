"""Writes Qwen-VL-Chat-Int4 as it is on paper: true config and headers, sparse bodies. 9,541,066,752 bytes, next to nothing on disk.

usage: python examples/qwen_vl_chat_int4.py FOLDER
"""

from __future__ import annotations

import sys

from qvl_preflight.testing import QWEN_VL, Tensors, qwen_block, write_checkpoint

HIDDEN, INNER, VOCAB, BLOCKS = 4096, 11008, 151936, 32
VISION_WIDTH, VISION_INNER, VISION_BLOCKS = 1664, 8192, 48
SHARDS = 5
QUANTIZATION = {
    "quant_method": "gptq",
    "bits": 4,
    "group_size": 128,
    "desc_act": False,
    "sym": True,
    "damp_percent": 0.01,
    "static_groups": False,
    "true_sequential": True,
}
CONFIG = QWEN_VL | {
    "num_hidden_layers": BLOCKS, "kv_channels": 128, "seq_length": 2048, "no_bias": True, "use_cache": True, "fp16": True, "bf16": False, "fp32": False,
    "use_flash_attn": "auto", "transformers_version": "4.31.0", "quantization_config": QUANTIZATION,
    "visual": {"heads": 16, "image_size": 448, "image_start_id": 151857, "layers": VISION_BLOCKS, "mlp_ratio": 4.9231, "output_dim": HIDDEN, "patch_size": 14, "width": VISION_WIDTH},
}  # fmt: skip


def pieces() -> list[Tensors]:
    """The model in loading order: embeddings, text blocks, vision blocks, head."""
    out: list[Tensors] = [{"transformer.wte.weight": ("F16", (VOCAB, HIDDEN))}]
    out += [qwen_block(f"transformer.h.{block}.", HIDDEN, INNER) for block in range(BLOCKS)]
    for block in range(VISION_BLOCKS):
        prefix = f"transformer.visual.transformer.resblocks.{block}."
        out.append({
            f"{prefix}attn.in_proj.weight": ("F16", (3 * VISION_WIDTH, VISION_WIDTH)), f"{prefix}attn.out_proj.weight": ("F16", (VISION_WIDTH, VISION_WIDTH)),
            f"{prefix}mlp.c_fc.weight": ("F16", (VISION_INNER, VISION_WIDTH)), f"{prefix}mlp.c_proj.weight": ("F16", (VISION_WIDTH, VISION_INNER)),
        })  # fmt: skip
    return [*out, {"transformer.ln_f.weight": ("F16", (HIDDEN,)), "lm_head.weight": ("F16", (VOCAB, HIDDEN))}]


def write(folder: str) -> int:
    """Write the checkpoint; returns the bytes of its weights."""
    parts = pieces()
    shards: list[dict[str, tuple[str, tuple[int, ...]]]] = [{} for _ in range(SHARDS)]
    for number, part in enumerate(parts):
        shards[number * SHARDS // len(parts)].update(part)
    return write_checkpoint(folder, CONFIG, list(shards))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"{write(sys.argv[1]):,} bytes of weights in {SHARDS} shards under {sys.argv[1]}")
