"""A dtype that is no dtype, no string and no dict: a number, True. Up to 4.37 a dict is none either.

Run on a CPU with 4.35.2, 4.37.2, 4.57.1 and 5.23.0, by AutoModelForCausalLM and by LlamaForCausalLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import Dtype, LiveObject, show
from qvl_preflight.stack.auto_classes import by_auto_class
from qvl_preflight.stack.transformers import asked_dtype
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_NO_DTYPE: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.35", "4.38", ("AttributeError", "'{}' object has no attribute 'is_floating_point'"), Evidence.RUN, "transformers 4.35.2, 4.37.2 modeling_utils.py"),
    Row("4.50", "4.56", ("ValueError", "`torch_dtype` can be one of: `torch.dtype`, `'auto'`, a string of a valid `torch.dtype`"), Evidence.SOURCE, "transformers 4.50.3, 4.55.4 modeling_utils.py"),
    Row("4.56", None, ("ValueError", "`dtype` can be one of: `torch.dtype`, `'auto'`, a string of a valid `torch.dtype`"), Evidence.RUN, "transformers 4.57.1, 5.23.0 modeling_utils.py"),
)  # fmt: skip


def in_config(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: AutoConfig of 4.35 to 4.37 cannot write it out (configuration_utils.py dict_torch_dtype_to_str)."""
    asked = situation.request.kwargs.get("torch_dtype")
    if _is_type(asked) and by_auto_class(situation) and situation.packages.at_least("transformers", 4, 37):
        why = f"torch_dtype={show(asked)} is a type of Python, and no dtype: torch.float32 is one"
        yield WillRaise("QVL902", Stage.CONFIG, "IndexError", "list index out of range", "dtype", why, evidence=Evidence.RUN)
        return
    if not isinstance(asked, (int, float, Mapping)) or isinstance(asked, Dtype) or not by_auto_class(situation):
        return
    if situation.packages.at_least("transformers", 4, 35) and not situation.packages.at_least("transformers", 4, 38):
        why = f"torch_dtype={show(asked)} is no dtype"
        yield WillRaise("QVL902", Stage.CONFIG, "IndexError", "list index out of range", "dtype", why, evidence=Evidence.RUN)


def forms(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DTYPE: from_pretrained itself."""
    asked = asked_dtype(situation)
    if _is_type(asked) and isinstance(asked, LiveObject):
        row, name = _NO_DTYPE.row(situation.packages), asked.class_name.removeprefix("type ")
        text = row.value[1].replace("'{}' object", f"type object '{name}'")
        why = f"{show(asked)} is a type of Python, and no dtype: torch.float32 is one"
        yield WillRaise("QVL902", Stage.DTYPE, row.value[0], text, "dtype", why, evidence=row.evidence)
        return
    if isinstance(asked, (int, float)) or (isinstance(asked, Mapping) and not situation.packages.at_least("transformers", 4, 38)):
        row = _NO_DTYPE.row(situation.packages)
        text = row.value[1].format("dict" if isinstance(asked, Mapping) else type(asked).__name__)
        yield WillRaise("QVL902", Stage.DTYPE, row.value[0], text, "dtype", f"{show(asked)} is no dtype", evidence=row.evidence)


def _is_type(asked: Any) -> bool:
    """``float``, ``int``: a class of Python's own."""
    return isinstance(asked, LiveObject) and asked.class_name in ("type float", "type int", "type str", "type bool")
