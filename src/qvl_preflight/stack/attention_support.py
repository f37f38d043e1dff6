"""Which architectures of transformers take which attention, by release: ``_supports_flash_attn_2`` (``_supports_flash_attn`` since 4.53) and
``_supports_sdpa`` of their classes in 4.34.1 to 5.23.0.

Only models whose release differs from the one in which they came, or that never took it. Whatever is not listed is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping

# model_type → the release from which on it is taken; None: not in 5.23.0 either.
FLASH_SINCE: Mapping[str, tuple[int, int] | None] = {
    "bart": (4, 35), "bert": (5, 0), "bloom": None, "codegen": None, "fuyu": (4, 52), "gpt2": (4, 40), "gpt_bigcode": (4, 35), "gpt_neo": (4, 36),
    "gpt_neox": (4, 36), "gptj": (4, 39), "mamba": None, "mpt": None, "opt": (4, 36), "paligemma": (4, 46), "persimmon": (4, 53), "phi": (4, 36),
    "roberta": (5, 0), "rwkv": None, "t5": None, "whisper": (4, 35), "xglm": None,
}  # fmt: skip
SDPA_SINCE: Mapping[str, tuple[int, int] | None] = {
    "bart": (4, 36), "bert": (4, 41), "bloom": None, "codegen": None, "falcon": (4, 36), "fuyu": (4, 52), "gpt2": (4, 42), "gpt_bigcode": (4, 36),
    "gpt_neo": None, "gpt_neox": (4, 42), "gpt_oss": None, "gptj": None, "llama": (4, 36), "llava": (4, 46), "llava_next": (4, 46), "mamba": None,
    "mistral": (4, 37), "mixtral": (4, 37), "mpt": None, "opt": (4, 46), "persimmon": (4, 53), "phi": (4, 39), "phi3": (4, 45), "roberta": (4, 45),
    "rwkv": None, "stablelm": (4, 39), "whisper": (4, 36), "xglm": None,
}  # fmt: skip
RUN = {"bloom", "gpt2", "gptj", "opt"}  # with 4.37.2, 4.51.3, 4.57.1 and 5.23.0
# Models whose own code chooses its attention by a setting of its config, and whose classes carry neither mark (Qwen, Qwen-VL: modeling_qwen.py).
REMOTE_WITHOUT = {"qwen"}


def takes(model: str, remote: bool, asked: str, release: tuple[int, ...]) -> bool | None:
    """Does the model's class take this attention? None where it is not known."""
    if remote:
        return False if model in REMOTE_WITHOUT else None
    table = SDPA_SINCE if asked == "sdpa" else FLASH_SINCE
    if model not in table:
        return None
    since = table[model]
    return since is not None and release >= since
