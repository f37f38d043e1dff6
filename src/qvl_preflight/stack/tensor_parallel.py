"""tp_plan: tensor parallelism inside from_pretrained. Run on a CPU, transformers 4.48 to 5.23."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.devices import is_rank
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_BESIDE = "`tp_plan` and `device_map` are mutually exclusive. Choose either one for parallelization."
_EXCLUSIVE: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.49", "5.6", _BESIDE, Evidence.RUN, "transformers 4.50.3 to 5.5.0 modeling_utils.py, integrations/tensor_parallel.py"),
    Row("5.17", None, None, Evidence.RUN, "transformers 5.17.0, 5.23.0: loads"),
)
_ALONE: ByRelease[str | None] = ByRelease(
    "transformers",
    Row(
        "4.50",
        "5.6",
        "We tried to initialize torch.distributed for you, but it failed",
        Evidence.RUN,
        "transformers 4.50.3 to 5.5.0",
    ),
    Row("5.17", None, None, Evidence.RUN, "transformers 5.17.0, 5.23.0: loads"),
)


def tp_plan(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ARGUMENTS: a tp_plan beside a device_map, or in a process that no launcher started."""
    kwargs = situation.request.kwargs
    if kwargs.get("tp_plan") is None:
        return
    if situation.request.device_map is not None:
        row = _EXCLUSIVE.row(situation.packages)
        if row.value is not None:
            why = "tp_plan cuts each layer over the ranks and device_map places whole layers: this release takes one of them"
            yield WillRaise("QVL416", Stage.ARGUMENTS, "ValueError", row.value, "tp-plan", why, evidence=row.evidence)
        return
    alone = _ALONE.row(situation.packages)
    env = need(situation.facts.env)
    if (
        alone.value is not None
        and kwargs.get("device_mesh") is None
        and not is_rank(need(situation.facts.launch))
        and "RANK" not in env
    ):
        why = "tp_plan needs one process for each GPU, and this one was started by no launcher"
        yield WillRaise("QVL417", Stage.ARGUMENTS, "OSError", alone.value, "tp-plan", why, evidence=alone.evidence)
