"""FSDP: which parameters it flattens together, and what it does not take.

Sources: torch 2.14 distributed/fsdp/_flat_param.py; transformers 4.32 to 5.23 training_args.py, trainer.py; accelerate 0.23 to 1.15
utils/dataclasses.py, utils/fsdp_utils.py. Run without a GPU: torch 2.14.1 over gloo with bitsandbytes 0.50.2 and peft 0.21.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.deepspeed import storage
from qvl_preflight.stack.transformers import asked_dtype
from qvl_preflight.unknown import Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation
    from qvl_preflight.request import Request

# The version that TrainingArguments choose where fsdp_config does not say.
_DEFAULT_VERSION = ByRelease(
    "transformers",
    Row("4.28", "5.0", 1, Evidence.SOURCE, "transformers 4.57.1 training_args.py, accelerate 1.6.0 utils/dataclasses.py"),
    Row("5.0", "5.10", 1, Evidence.SOURCE, "transformers 5.0.0, 5.9.0 training_args.py"),
    Row("5.10", None, 2, Evidence.SOURCE, "transformers 5.10.0, 5.23.0 training_args.py"),
)
_KNOWS_TWO = (1, 6)  # accelerate: before, there is no version 2
_WRAPS_ADAPTERS = (4, 39)  # Trainer gives each adapter a unit of its own from here on (_fsdp_qlora_plugin_updates)
_INTEGERS = "Cannot flatten integer dtype tensors"
_MIXED = "Must flatten tensors with uniform dtype but got torch.{} and torch.{}"
_ALONE = "Using fsdp only works in distributed training."
_BOTH = "Using --fsdp xxx together with --deepspeed is not possible, deactivate one of those flags."


@dataclass(frozen=True)
class Fsdp:
    """How a job shards by FSDP."""

    version: int | Unknown
    wraps: bool  # are the layers units of their own, or is the model one?


def asked(request: Request) -> Any:
    """What TrainingArguments say: ``True``, ``"full_shard auto_wrap"``, a list; falsy for nothing."""
    return (request.trainer or {}).get("fsdp")


def in_use(situation: Situation) -> bool:
    """By the trainer's settings or by accelerate launch. Unknown counts as no."""
    launch = situation.facts.launch
    return bool(asked(situation.request)) or (not isinstance(launch, Unknown) and launch.fsdp is True)


def fsdp(situation: Situation) -> Fsdp | None:
    """The job's FSDP; None for none."""
    if not in_use(situation):
        return None
    given = settings(situation.request)
    said = given.get("version")
    version = int(str(said)) if str(said) in ("1", "2") else attempt(lambda: _version(situation))
    return Fsdp(version, _wraps(situation, given))


def settings(request: Request) -> Mapping[str, Any]:
    """``fsdp_config`` of TrainingArguments, or of an accelerate file; names with and without ``fsdp_`` mean the same."""
    trainer = request.trainer or {}
    found = [part for part in (trainer.get("fsdp_config"), trainer.get("fsdp")) if isinstance(part, Mapping)]
    return {str(key).removeprefix("fsdp_"): value for part in found for key, value in part.items()}


def _version(situation: Situation) -> int:
    """Raises Undecided where accelerate's own file decides."""
    if not situation.packages.at_least("accelerate", *_KNOWS_TWO):
        return 1
    launch = situation.facts.launch
    if isinstance(launch, Unknown) or launch.launcher == "accelerate" or not asked(situation.request):
        return need(Unknown("which version of FSDP accelerate's configuration asks for"))
    return _DEFAULT_VERSION.value(situation.packages)


def _wraps(situation: Situation, settings: Mapping[str, Any]) -> bool:
    request, named = situation.request, asked(situation.request)
    if "auto_wrap" in str(named) or settings.get("transformer_layer_cls_to_wrap") or settings.get("auto_wrap_policy"):
        return True
    adapters = request.peft is not None or request.purpose in ("lora", "qlora")
    since = attempt(lambda: situation.packages.at_least("transformers", *_WRAPS_ADAPTERS))
    return adapters and request.trainer is not None and since is not False


def flatten(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: version 1 lays the parameters of a unit into one tensor, which takes one floating dtype."""
    job = fsdp(situation)
    if job is None or job.version == 2 or not situation.request.trains:
        return
    quantization = need(draft.quantization)
    if quantization is None or quantization.method != "bitsandbytes":
        return
    stored, evidence = storage(quantization), Evidence.RUN if quantization.bits == 4 else Evidence.SOURCE
    if stored in ("uint8", "int8"):
        dtype = draft.dtype if isinstance(draft.dtype, str) else "float16"
        text = _INTEGERS if job.wraps else _MIXED.format(dtype, stored)
        why = f"FSDP flattens the parameters of a layer into one tensor, and the {quantization.bits}-bit weights lie in {stored}"
    else:
        dtype = need(draft.dtype)
        if stored == dtype or asked_dtype(situation) is None:
            return  # a dtype that is not passed may be set on the configuration by the code around the call
        text = _MIXED.format(*((stored, dtype) if job.wraps else (dtype, stored)))
        why = f"FSDP flattens the parameters of a layer into one tensor: the 4-bit weights lie in {stored}, the others are {dtype}"
    condition = "FSDP is used in its version 1 (fsdp_version)" if isinstance(job.version, Unknown) else None
    yield WillRaise("QVL707", Stage.TRAINER, "ValueError", text, "fsdp-dtype", why, condition, evidence)


def alone(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: FSDP without ranks, or beside DeepSpeed."""
    request, launch = situation.request, situation.facts.launch
    if not asked(request) or not request.trains:
        return
    evidence = Evidence.RUN if situation.packages.at_least("transformers", 5) else Evidence.SOURCE
    if (request.trainer or {}).get("deepspeed"):
        why = "the trainer is told to shard by FSDP and by DeepSpeed"
        yield WillRaise("QVL709", Stage.TRAINER, "ValueError", _BOTH, "fsdp", why, evidence=evidence)
    elif not isinstance(launch, Unknown) and launch.launcher in ("python", "notebook") and launch.world_size == 1:
        why = f"FSDP shards over ranks, and this process was started by {launch.launcher}, alone"
        yield WillRaise("QVL709", Stage.TRAINER, "ValueError", _ALONE, "fsdp", why, evidence=evidence)
