"""Which architectures of transformers take which attention, by release: ``_supports_flash_attn_2`` (``_supports_flash_attn`` since 4.53) and
``_supports_sdpa`` of their classes in 4.34.1 to 5.23.0.

Only models whose release differs from the one in which they came, or that never took it. Whatever is not listed is not judged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

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


PATH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "tables", "attention.txt")
_KINDS = {"sdpa": "sdpa", "flash_attention_2": "flash", "flex_attention": "flex"}


def takes(model: str, remote: bool, asked: str, release: tuple[int, ...]) -> bool | None:
    """Does the model's class take this attention? None where it is not known."""
    if remote:
        return False if model in REMOTE_WITHOUT else None
    table = {"sdpa": SDPA_SINCE, "flash_attention_2": FLASH_SINCE}.get(asked, {})
    seen = _seen(model, asked, release)
    if seen is not None or model not in table:
        return seen
    since = table[model]
    return since is not None and release >= since


def was_seen(model: str, asked: str, release: tuple[int, ...]) -> bool:
    """Was this release imported and its classes asked, or the load run?"""
    return model in RUN or release[:2] in _table().get(model, {}).get(_KINDS[asked], {})


def _seen(model: str, asked: str, release: tuple[int, ...]) -> bool | None:
    """What the classes of the releases around say, where they agree (scripts/attention_support.py)."""
    answers = _table().get(model, {}).get(_KINDS[asked], {})
    before = max((read for read in answers if read <= release[:2]), default=None)
    after = min((read for read in answers if read >= release[:2]), default=before)
    if before is None or after is None or answers[before] != answers[after]:
        return None
    return {"+": True, "-": False}.get(answers[before])


_Answers = Mapping[tuple[int, ...], str]


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Mapping[str, _Answers]]:
    """Model type → kind of attention → release → "+" where all of its classes take it, "-" where none does, "?" where they differ."""
    found: dict[str, dict[str, _Answers]] = {}
    with open(PATH, encoding="utf-8") as file:
        for line in file.read().splitlines()[1:]:
            model_type, *kinds = line.split()
            found[model_type] = {
                kind: {tuple(map(int, read[:-1].split("."))): read[-1] for read in reads.split(",")}
                for kind, _, reads in (each.partition(":") for each in kinds)
            }
    return found
