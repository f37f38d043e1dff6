"""transformers' Trainer: what it refuses, and how it spreads a model over GPUs. None of it applies to a person's own loop.

Sources: transformers 4.32 to 4.57 trainer.py, 5.x trainer_utils.py; accelerate 0.23 to 1.15 accelerator.py prepare_model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.counted import counted, verb
from qvl_preflight.devices import is_rank, may_be_rank
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.unknown import Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, LoadPlan, Quantization, Situation

_PURELY_QUANTIZED = "You cannot perform fine-tuning on purely quantized models. Please attach trainable adapters"
_AUTO_DISTRIBUTED = "You can't train a model that has been loaded with `device_map='auto'` in any distributed mode."


def adapters_wanted(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: full fine-tuning of quantised weights (refused since 4.34). Adapters that nobody mentioned may still come: only a named purpose counts."""
    quantization, request = need(draft.quantization), situation.request
    if (
        request.purpose != "full"
        or not request.purpose_named
        or request.peft
        or quantization is None
        or quantization.method not in ("gptq", "bitsandbytes", "awq")
    ):
        return
    if situation.packages.at_least("transformers", 4, 34):
        yield WillRaise(
            "QVL805",
            Stage.TRAINER,
            "ValueError",
            _PURELY_QUANTIZED,
            "no-adapters",
            "quantised weights cannot be trained themselves, and no adapters are planned",
            None if request.trainer is not None else "transformers' Trainer trains it",
            evidence=Evidence.RUN,
        )


def distributed(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: a map over several devices in a launch of several ranks (accelerate's verify_device_map)."""
    request, launch = situation.request, situation.facts.launch
    several = is_rank(launch)
    if not request.trains or request.device_map not in STRATEGIES or not (several or may_be_rank(launch)):
        return
    conditions = [] if several else ["there are several ranks"]
    if isinstance(draft.device_map, Unknown):
        conditions.append("the model spreads over several devices")
    elif len(draft.device_map) == 1:
        return
    why = f'device_map="{request.device_map}" lets every rank spread the model over all GPUs'
    yield WillRaise(
        "QVL701",
        Stage.TRAINER,
        "ValueError",
        _AUTO_DISTRIBUTED,
        "auto-ranks",
        why,
        " and ".join(conditions) or None,
        Evidence.SOURCE,
    )


_NO_BACKWARD = ("RuntimeError", "Function MmBackward0 returned an invalid gradient")
_REFUSED = ("ValueError", "You can't train a model that has been loaded")
# Adapters on a model of which a part lies on the CPU or the disk, under a Trainer; a person's own loop meets the backward in every release.
_ADAPTERS_AWAY: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.32", "4.38", ("NotImplementedError", "Cannot copy out of meta tensor; no data!"), Evidence.RECORDED, "transformers 4.32.0, 4.37.2"),
    Row("4.38", "5.0", _REFUSED, Evidence.SOURCE, "accelerate 1.0.1, 1.10.1 accelerator.py prepare_model"),
    Row("5.0", None, _NO_BACKWARD, Evidence.RECORDED, "transformers 5.17.0"),
)  # fmt: skip
# Full fine-tuning of such a model; None: it runs, and what lies away gets no gradient.
_WEIGHTS_AWAY: ByRelease[tuple[str, str] | None] = ByRelease(
    "transformers",
    Row("4.32", "4.38", ("RuntimeError", "You can't move a model that has some modules offloaded to cpu or disk."), Evidence.RECORDED, "transformers 4.32.0, 4.37.2"),
    Row("4.38", "5.0", _REFUSED, Evidence.SOURCE, "accelerate 1.0.1, 1.10.1 accelerator.py prepare_model"),
    Row("5.0", None, None, Evidence.RECORDED, "transformers 5.17.0"),
)  # fmt: skip


def away(situation: Situation, device_map: Mapping[str, str]) -> tuple[str, ...]:
    """The blocks of a model that is to be trained that lie on the CPU or the disk while the rest is on a GPU, or on the disk while it is on the CPU."""
    homes = set(device_map.values())
    gpu = any(device.startswith("cuda") for device in homes)
    if not situation.request.trains or not (gpu or {"cpu", "disk"} <= homes):
        return ()
    if not gpu:  # seen where all blocks lie there
        return tuple(name for name, device in device_map.items() if device == "disk" and _holds_all_blocks(situation, name))
    return tuple(name for name, device in device_map.items() if device in ("cpu", "disk") and re.search(r"\.\d+$", name))


def _holds_all_blocks(situation: Situation, module: str) -> bool:
    weights = situation.checkpoint.weights
    if isinstance(weights, Unknown):
        return module == "model"
    blocks = [tensor.name for tensor in weights.tensors if re.search(r"\.\d+\.", tensor.name)]
    return bool(blocks) and all(name.startswith(f"{module}.") for name in blocks) and not re.search(r"\.\d+$", module)


def offloaded(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: blocks that lie away from the GPU. Their weights are fetched for each forward, and none are there for the backward."""
    if not situation.request.trains:
        return
    found = need(draft.device_map)
    blocks = away(situation, found)
    if not blocks:
        return
    quantization, bare = need(draft.quantization), situation.request.trainer is None
    row: Row[tuple[str, str]] | Row[tuple[str, str] | None]
    if situation.request.purpose == "full" and quantization is None:
        if bare:
            return
        row = _WEIGHTS_AWAY.row(situation.packages)
    elif bare:
        row = Row("4.32", None, _NO_BACKWARD, Evidence.RECORDED, "transformers 4.32.0, 4.37.2, 5.17.0")
    else:
        row = _ADAPTERS_AWAY.row(situation.packages)
    if row.value is not None:
        why = f"{counted(len(blocks), 'block')} {verb(len(blocks), 'lies', 'lie')} on the {found[blocks[0]]}, where no gradient passes"
        yield WillRaise("QVL411", Stage.STEP, *row.value, "offloaded", why, evidence=row.evidence)


_COPIES_4_BIT = ByRelease(
    "transformers",
    Row(
        "4.28",
        "5.6",
        True,
        Evidence.SOURCE,
        "transformers 4.57.1 trainer.py:2077, 5.5.0 trainer.py: is_loaded_in_8bit alone is exempt",
    ),
    Row("5.6", None, False, Evidence.SOURCE, "transformers 5.6.0, 5.23.0 trainer.py:2669"),
)


def copied(situation: Situation, quantization: Quantization) -> bool:
    """Are layers of this kind copied by DataParallel, and not made for it? Raises Undecided."""
    if quantization.method == "bitsandbytes":
        return quantization.bits == 4 and _COPIES_4_BIT.value(situation.packages)
    return quantization.method == "gptq"


def data_parallel(situation: Situation, plan: LoadPlan) -> bool:
    """Will Trainer wrap the model in DataParallel: one plain process, several visible GPUs, a model on the first of them alone?

    4.x leaves it alone where the map's only device is not literally cuda:0 (a bare "cuda" escapes so). Raises Undecided.
    """
    request, launch = situation.request, situation.facts.launch
    if (
        request.trainer is None
        or request.trains_on_cpu
        or not request.trains
        or isinstance(launch, Unknown)
        or launch.launcher not in ("python", "notebook")
    ):
        return False
    if len(need(situation.devices).visible) < 2:
        return False
    given = request.device_map
    bare = given == "cuda" or (isinstance(given, Mapping) and bool(given) and all(value == "cuda" for value in given.values()))
    if bare and not situation.packages.at_least("transformers", 5):
        return False
    return set(need(plan.device_map).values()) <= {"cpu", "cuda:0"}
