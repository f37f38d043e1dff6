"""Attention implementations: which names a release takes, and which packages they need.

Sources: transformers 4.36 to 5.23 modeling_utils.py (_autoset_attn_implementation, _check_and_adjust_attn_implementation). Recorded: 5.17.0; run: 4.37.2,
5.23.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_NO_FLASH = ByRelease(
    "transformers",
    Row("4.34", "4.57", "FlashAttention2 has been toggled on, but it cannot be used due to the following error: the package flash_attn seems to be not installed", Evidence.RUN, "transformers 4.37.2 modeling_utils.py:1478"),
    Row("4.57", "5.0", "FlashAttention2 has been toggled on, but it cannot be used due to the following error: the package flash_attn seems to be not installed", Evidence.SOURCE, "transformers 4.57.1"),
    Row("5.0", None, "FlashAttention2 has been toggled on, but it cannot be used due to the following error: the package for FlashAttention2 doesn't seem to be installed", Evidence.RECORDED, "transformers 5.17.0 modeling_utils.py:1558"),
)  # fmt: skip


_PACKAGES = {"flash_attention_2": "flash-attn", "flash_attention_3": "flash-attn-3"}
# Names that a release knows; from 5.0 on others can be registered by anyone.
_NAMES: ByRelease[tuple[str, ...] | None] = ByRelease(
    "transformers",
    Row("4.32", "4.36", None, Evidence.SOURCE, "transformers 4.35.2: no such argument"),
    Row("4.36", "4.48", ("eager", "sdpa", "flash_attention_2"), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:1375"),
    Row("4.48", None, None, Evidence.SOURCE, "transformers 4.48.3, 5.23.0: a registry"),
)


def asked_for(situation: Situation) -> str | None:
    """The implementation that the call asks for, under either of its spellings."""
    asked = situation.request.kwargs.get("attn_implementation")
    if (
        asked is None
        and situation.request.kwargs.get("use_flash_attention_2")
        and not situation.packages.at_least("transformers", 4, 53)
    ):
        return "flash_attention_2"
    return asked if isinstance(asked, str) else None


def attention(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MODEL: an attention implementation that is not known, or whose package is not installed."""
    asked = asked_for(situation)
    if asked is None:
        return
    names = _NAMES.row(situation.packages)
    if names.value is not None and asked not in names.value:
        text = f'Specified `attn_implementation="{asked}"` is not supported.'
        why = f'this release knows {", ".join(names.value)}, not "{asked}"'
        yield WillRaise("QVL905", Stage.MODEL, "ValueError", text, "attention", why, evidence=names.evidence)
    elif "/" in asked:
        yield from _from_hub(situation, asked)
    else:
        yield from _flash(situation, asked)


def _from_hub(situation: Situation, asked: str) -> Iterator[WillRaise]:
    if situation.packages.at_least("transformers", 5) and not situation.packages.has("kernels"):
        text = "`kernels` is either not installed or uses an incompatible version."
        why = f'"{asked}" is fetched by the package kernels, which is not installed'
        yield WillRaise("QVL904", Stage.MODEL, "ImportError", text, "attention", why, evidence=Evidence.RECORDED)


def _flash(situation: Situation, asked: str) -> Iterator[WillRaise]:
    package = _PACKAGES.get(asked)
    if package is None or situation.packages.has(package):
        return
    if situation.packages.at_least("transformers", 4, 57) and situation.packages.has("kernels"):
        return  # falls back to the hub's kernel
    row = _NO_FLASH.row(situation.packages)
    text = row.value.replace("FlashAttention2", "FlashAttention3") if asked.endswith("3") else row.value
    why = f"{asked} is asked for, and the package {package} is not installed"
    yield WillRaise("QVL904", Stage.MODEL, "ImportError", text, "attention", why, evidence=row.evidence)
