"""Attention implementations: which names a release takes, and which packages they need.

Sources: transformers 4.36 to 5.23 modeling_utils.py (_autoset_attn_implementation, _check_and_adjust_attn_implementation). Recorded: 5.17.0; run: 4.37.2,
5.23.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import flash, flash_library
from qvl_preflight.stack.attention_support import takes, was_seen
from qvl_preflight.unknown import attempt
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# Names that a release knows. From 4.48 on they stand in a registry, into which anyone can put more.
_NAMES: ByRelease[tuple[str, ...] | None] = ByRelease(
    "transformers",
    Row("4.32", "4.36", None, Evidence.SOURCE, "transformers 4.35.2: no such argument"),
    Row("4.36", "4.47", ("eager", "sdpa", "flash_attention_2"), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:1375"),
    Row("4.47", "4.48", ("eager", "sdpa", "flash_attention_2", "flex_attention"), Evidence.SOURCE, "transformers 4.47.1 modeling_utils.py"),
    Row("4.48", "4.53", ("eager", "sdpa", "flash_attention_2", "flex_attention"), Evidence.RUN, "transformers 4.51.3 modeling_utils.py"),
    Row("4.53", "5.0", ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"), Evidence.RUN, "transformers 4.57.1 modeling_utils.py"),
    Row("5.0", "5.4", ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"), Evidence.RUN, "transformers 5.2.0, 5.3.0 modeling_utils.py"),
    Row("5.4", None, ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention"), Evidence.RUN, "transformers 5.4.0, 5.23.0 modeling_utils.py"),
)  # fmt: skip
_NO_FLASH = ByRelease(
    "transformers",
    Row("4.34", "4.36", "The current architecture does not support Flash Attention 2.0.", Evidence.SOURCE, "transformers 4.34.1, 4.35.2 modeling_utils.py"),
    Row("4.36", None, "{} does not support Flash Attention 2", Evidence.RUN, "transformers 4.37.2, 4.57.1, 5.23.0 modeling_utils.py"),
)  # fmt: skip
_NO_SDPA = "{} does not support an attention implementation through torch.nn.functional.scaled_dot_product_attention yet."
_NO_FLEX = "{} does not support an attention implementation through torch's flex_attention."


def asked_for(situation: Situation) -> str | None:
    """The implementation that the call asks for, under either of its spellings."""
    asked = situation.request.kwargs.get("attn_implementation")
    if asked is None and situation.packages.at_least("transformers", 4, 36):
        asked = situation.request.kwargs.get("_attn_implementation")  # an attribute of the configuration
    if (
        asked is None
        and situation.request.kwargs.get("use_flash_attention_2")
        and not situation.packages.at_least("transformers", 4, 53)
    ):
        return "flash_attention_2"
    return asked if isinstance(asked, str) else None


# Up to 4.53 from_pretrained settles the attention before the class is called, and so before what is left over meets the class.
_BY_THE_CLASS: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.28", "4.54", False, Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3588, 4.53.3 modeling_utils.py:4758"),
    Row("4.54", None, True, Evidence.RUN, "transformers 4.57.1 modeling_utils.py:2076, 5.23.0 modeling_utils.py:1258"),
)


def before_the_class(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MODEL: the attention, where from_pretrained settles it."""
    if not _BY_THE_CLASS.value(situation.packages):
        yield from _settled(situation, draft)


def attention(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MODEL: the attention, where the class settles it; or where the release is not known."""
    if attempt(lambda: _BY_THE_CLASS.value(situation.packages)) is not False:
        yield from _settled(situation, draft)


def _settled(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """An attention implementation that is not known, that the model's class does not take, or whose package does not do."""
    asked = asked_for(situation)
    yield from flash_library.load(situation, asked)
    if asked is None:
        yield from _truth(situation)
        return
    if "/" in asked and situation.packages.at_least("transformers", 4, 48):
        yield from _from_hub(situation, asked)
        return
    yield from _unknown(situation, asked)
    yield from _not_taken(situation, asked)
    if asked in flash.VERSIONS:
        yield from flash.load(situation, draft, asked)


def forward(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: what FlashAttention asks of the GPU and the dtype."""
    asked = asked_for(situation)
    if asked in flash.VERSIONS:
        yield from flash.forward(situation, draft, asked)
    elif asked in ("paged|sdpa", "paged|eager"):
        yield from _without_pages(situation, asked)


# integrations/sdpa_paged.py, eager_paged.py: a forward outside of continuous batching hands over no cache of pages.
_NO_PAGES: ByRelease[tuple[str, ...]] = ByRelease(
    "transformers",
    Row("5.17", "5.18", ("paged|sdpa", "paged|eager"), Evidence.RECORDED, 'transformers 5.17.0 on an H100: "paged|sdpa"'),
    Row("5.20", None, ("paged|eager",), Evidence.SOURCE, "transformers 5.20.2, 5.23.0 integrations/eager_paged.py:35"),
)


def _without_pages(situation: Situation, asked: str) -> Iterator[WillRaise]:
    row = _NO_PAGES.row(situation.packages)
    if asked in row.value:
        text = f"`{asked}` was called without a paged attention cache."
        why = f'attn_implementation="{asked}" is for generate_batch alone: any other forward hands it no cache of pages'
        condition = None if situation.request.trains else "it is not generate_batch that is called"
        yield WillRaise("QVL905", Stage.FORWARD, "ValueError", text, "attention", why, condition, row.evidence)


def _unknown(situation: Situation, asked: str) -> Iterator[WillRaise]:
    row = _NAMES.row(situation.packages)
    if row.value is None or asked in row.value or _paged(situation, asked):
        return
    text = f'Specified `attn_implementation="{asked}"` is not supported.'
    why = f'this release knows {", ".join(row.value)}, not "{asked}"'
    open_to_all = situation.packages.at_least("transformers", 4, 48) and "flash" not in asked and not _is_slip(asked, row.value)
    condition = "nobody has registered an attention of that name" if open_to_all else None
    yield WillRaise("QVL905", Stage.MODEL, "ValueError", text, "attention", why, condition, row.evidence)


def _paged(situation: Situation, asked: str) -> bool:
    """May this be an attention over pages, as the release names them? (run: 4.37.2, 4.57.1, 5.23.0)"""
    release = situation.packages.release("transformers") or (0,)
    if release[:2] == (4, 57):
        return asked in ("sdpa_paged", "eager_paged", "paged_attention")
    if release[:2] >= (5, 23):
        return asked.startswith("paged|")
    return "paged" in asked and release >= (4, 48)


def _is_slip(asked: str, known: tuple[str, ...]) -> bool:
    """Is it a known name in other letters, or a word of other libraries that nobody registers?"""
    return "paged" in asked or asked.strip().lower().replace("-", "_") in (*known, "xformers", "auto", "none", "default", "")


def _truth(situation: Situation) -> Iterator[WillRaise]:
    """True or False for a name (run: 4.37.2, 4.57.1, 5.23.0)."""
    asked, packages = situation.request.kwargs.get("attn_implementation"), situation.packages
    if not isinstance(asked, bool) or not packages.at_least("transformers", 4, 36):
        return
    why = f"attn_implementation takes the name of an attention, not {asked}"
    if not packages.at_least("transformers", 4, 38):
        text = f'Specified `attn_implementation="{asked}"` is not supported.'
        yield WillRaise("QVL905", Stage.MODEL, "ValueError", text, "attention", why, evidence=Evidence.RUN)
    elif asked and packages.at_least("transformers", 4, 57):
        text = "'bool' object has no attribute 'startswith'"
        yield WillRaise("QVL905", Stage.MODEL, "AttributeError", text, "attention", why, evidence=Evidence.RUN)


def _not_taken(situation: Situation, asked: str) -> Iterator[WillRaise]:
    """The model's class has no such attention."""
    release, checkpoint = situation.packages.release("transformers") or (0,), situation.checkpoint
    if asked not in ("sdpa", "flash_attention_2", "flex_attention") or release < (4, 34):
        return
    model = str(checkpoint.config.get("model_type"))
    remote = checkpoint.remote_code and situation.request.kwargs.get("trust_remote_code") is True
    if takes(model, remote, asked, release) is not False:
        return
    name = (checkpoint.config.get("architectures") or ["The model"])[0]
    text = _NO_SDPA if asked == "sdpa" else _NO_FLEX if asked == "flex_attention" else _NO_FLASH.value(situation.packages)
    why = (
        f"{name} has no {asked} in this release"
        if not remote
        else f"the code of {name} chooses its attention itself, and takes none by this argument"
    )
    evidence = Evidence.RUN if not remote and release >= (4, 36) and was_seen(model, asked, release) else Evidence.SOURCE
    yield WillRaise("QVL932", Stage.MODEL, "ValueError", text.format(name), "attention", why, evidence=evidence)


# An implementation that names a repository of kernels, where the package that fetches it is missing. Before 4.52 no release reads such a name.
_NO_KERNELS: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.52", "4.56", ("ValueError", "kernels is not installed. Please install it with `pip install kernels`."), Evidence.SOURCE, "transformers 4.52.4 modeling_utils.py:2116"),
    Row("4.56", "4.57", ("ImportError", "`kernels` is not installed. Please install it with `pip install kernels`."), Evidence.SOURCE, "transformers 4.56.2 integrations/hub_kernels.py:128"),
    Row("4.57", None, ("ImportError", "`kernels` is either not installed or uses an incompatible version."), Evidence.RUN, "transformers 4.57.1, 5.23.0 integrations/hub_kernels.py"),
)  # fmt: skip


def _from_hub(situation: Situation, asked: str) -> Iterator[WillRaise]:
    if not situation.packages.has("kernels"):
        row = _NO_KERNELS.row(situation.packages)
        why = f'"{asked}" is fetched by the package kernels, which is not installed'
        yield WillRaise("QVL904", Stage.MODEL, *row.value, "attention", why, evidence=row.evidence)
