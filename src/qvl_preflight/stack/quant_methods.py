"""Which quantisation methods a release of transformers knows, and what it does with one that it does not know.

Sources: transformers 4.38 to 5.23 quantizers/auto.py (AUTO_QUANTIZATION_CONFIG_MAPPING); before, modeling_utils.py from_pretrained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import LiveObject
from qvl_preflight.spelling import distance
from qvl_preflight.unknown import Undecided
from qvl_preflight.versions import ByRelease, Evidence, Row, parse

if TYPE_CHECKING:
    from qvl_preflight.facts import Packages
    from qvl_preflight.plan import Draft, Situation

# method → (a release that does not know it yet, the first read that does); the releases between the two were not read.
SINCE: dict[str, tuple[str, str]] = {
    "bitsandbytes_4bit": ("0", "4.32"), "bitsandbytes_8bit": ("0", "4.32"), "gptq": ("0", "4.32"), "awq": ("4.34.1", "4.35"), "aqlm": ("4.37.2", "4.38"), "quanto": ("4.38.2", "4.39"),
    "eetq": ("4.40.2", "4.41"), "hqq": ("4.40.2", "4.41"), "fbgemm_fp8": ("4.42.4", "4.43"), "compressed-tensors": ("4.44.2", "4.45"),
    "torchao": ("4.44.2", "4.45"), "bitnet": ("4.45.2", "4.46"), "higgs": ("4.47.1", "4.48"), "vptq": ("4.47.1", "4.48"), "spqr": ("4.48.3", "4.49"),
    "fp8": ("4.48.3", "4.49"), "quark": ("4.49.0", "4.50"), "auto-round": ("4.51.3", "4.52"), "fp_quant": ("4.53.3", "4.54"), "mxfp4": ("4.54.1", "4.55"),
    "sinq": ("5.0.0", "5.2"), "fouroversix": ("5.2.0", "5.5"), "metal": ("5.2.0", "5.5"), "gguf": ("5.10.0", "5.17"), "nvfp4": ("5.10.0", "5.17"),
    "mxfp8": ("5.10.0", "5.17"), "gemma": ("5.10.0", "5.17"),
}  # fmt: skip

# How a release meets a method that it does not know: it raises, or loads the stored tensors as those of a plain model. The second without a
# word up to 4.37, with a line in the log from 4.49 on.
_STRANGER: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.32", "4.38", None, Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3107"),
    Row("4.38", "4.49", "Unknown quantization type, got {} - supported types are:", Evidence.RUN, "transformers 4.41.2, 4.45.2 quantizers/auto.py:94"),
    Row("4.49", None, None, Evidence.RUN, "transformers 4.51.3, 4.57.1, 5.23.0 quantizers/auto.py supports_quant_method"),
)  # fmt: skip
# 4.32 to 4.37 take what names no method for bitsandbytes, with neither width switched on: a plain load.
_NAMELESS: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.32", "4.38", None, Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3107"),
    Row("4.38", None, "The model's quantization config from the arguments has no `quant_method` attribute.", Evidence.RUN, "transformers 4.41.2 to 5.23.0 quantizers/auto.py"),
)  # fmt: skip


def written(situation: Situation) -> str | None:
    """The method of config.json under the name that a release looks up; None for a plain model, "" where the settings name none."""
    checkpoint = situation.checkpoint
    nested = "quantization_config" not in checkpoint.config  # in text_config alone: read from 5.17 on
    settings = checkpoint.quantization
    if settings is None or (nested and not situation.packages.at_least("transformers", 5, 17)):
        return None
    for bits in (4, 8):
        if settings.get(f"load_in_{bits}bit"):
            return f"bitsandbytes_{bits}bit"
    return str(settings.get("quant_method") or "")


def knows(packages: Packages, method: str) -> bool:
    """Does the installed release know a method, spelt exactly so? Raises Undecided."""
    if method not in SINCE:
        return False
    release, (without, since) = packages.release("transformers") or (0,), SINCE[method]
    if release >= (parse(since) or ()):
        return True
    if release > (parse(without) or ()):
        raise Undecided(f"whether transformers {'.'.join(map(str, release))} knows {method} was not looked up")
    return False


def meant(method: str) -> str | None:
    """The known method that a name is a slip of: other case, other hyphens, one letter off."""
    plain = _bare(method)
    if method in SINCE or not plain:
        return None
    same = [known for known in SINCE if _bare(known) == plain]
    near = [known for known in SINCE if len(plain) > 3 and distance(_bare(known), plain) == 1]
    return same[0] if same else near[0] if len(near) == 1 else None


def _bare(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def skipped(situation: Situation) -> str | None:
    """The method that this release passes over, so that it loads a plain model; None where it does not. Raises Undecided."""
    method = written(situation)
    if method is None or knows(situation.packages, method):
        return None
    table = _STRANGER if method else _NAMELESS
    return method if table.value(situation.packages) is None else None


def known(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: a method that this release refuses to load, because it does not know it or because none is named."""
    method = None if isinstance(situation.request.kwargs.get("config"), LiveObject) else written(situation)
    if method is None or knows(situation.packages, method):
        return
    row = (_STRANGER if method else _NAMELESS).row(situation.packages)
    if row.value is not None:
        yield WillRaise(
            "QVL311", Stage.CONFIG, "ValueError", row.value.format(method), "quant-method", why_unknown(situation, method), evidence=row.evidence
        )  # fmt: skip


def why_unknown(situation: Situation, method: str) -> str:
    """What is wrong with a method, in a sentence."""
    if not method:
        return "quantization_config in config.json names no quant_method"
    if method == "bitsandbytes":
        return "quantization_config in config.json says bitsandbytes, and neither load_in_4bit nor load_in_8bit"
    release = situation.packages.version("transformers")
    if method in SINCE:
        return (
            f"the checkpoint is quantised with {method}, which transformers {release} does not know yet ({SINCE[method][1]} does)"
        )
    slip = meant(method)
    return f'the checkpoint\'s quant_method is "{method}", which transformers {release} does not know' + (
        f'; "{slip}" is meant' if slip else ""
    )
