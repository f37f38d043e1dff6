"""Will a model fit, before anything is loaded: ``qvl_preflight.fit``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qvl_preflight import api
from qvl_preflight.estimate import quantization_of
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Launch
from qvl_preflight.facts_from import FactsLike
from qvl_preflight.fitting.answer import Fit, answered
from qvl_preflight.fitting.call import FOUR_BITS, Call
from qvl_preflight.fitting.cards import cards_of, size_of, thought_of
from qvl_preflight.fitting.question import Question
from qvl_preflight.fitting.rooms import rooms_of
from qvl_preflight.memory.asked import Asked, read_asked
from qvl_preflight.memory.ranks import Sharing, sharing_of
from qvl_preflight.memory.weights import WIDTHS
from qvl_preflight.plan import Situation
from qvl_preflight.planner import make_plan
from qvl_preflight.request import Dtype
from qvl_preflight.stack.loaders import capability_of, loader_of
from qvl_preflight.unknown import Undecided, Unknown, attempt

PURPOSES = ("inference", "lora", "qlora", "full")
OFFLOADS = ("optimizer", "parameters")


@dataclass(frozen=True)
class Wanted:
    """What is asked, as a person says it; None: as the trainer's settings say, else a default."""

    purpose: str | None = None
    batch_size: int | None = None
    sequence_length: int = 2048
    max_new_tokens: int = 256
    gradient_checkpointing: bool | None = None
    optimizer: str | None = None
    lora_rank: int = 16
    images: int = 0
    image_size: tuple[int, int] | None = None
    gpu: tuple[str, ...] = ()
    ram: str | None = None
    world_size: int | None = None
    zero_stage: int | None = None
    fsdp: bool = False
    offload: tuple[str, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def fit(
    model: str | os.PathLike[str], /, *, purpose: str | None = None, batch_size: int | None = None, sequence_length: int = 2048, max_new_tokens: int = 256,
    gradient_checkpointing: bool | None = None, optimizer: str | None = None, lora_rank: int = 16, images: int = 0, image_size: tuple[int, int] | None = None,
    gpu: str | Iterable[str] = (), ram: str | None = None,
    world_size: int | None = None, zero_stage: int | None = None, fsdp: bool = False, offload: Iterable[str] = (), trainer: Any = None, peft: Any = None,
    facts: FactsLike = None, online: bool | float = False, **kwargs: Any,
) -> Fit:  # fmt: skip
    """Does ``from_pretrained(model, **kwargs)`` and one step after it fit on the GPUs of this machine, by what they have free? Nothing is loaded.

    ``gpu``: other GPUs in their place, ``"24GiB"``, ``"2x24GiB"``, ``"rtx4090"``. ``device_map="auto"`` spreads one process over them; ``world_size`` with
    ``zero_stage`` or ``fsdp`` (or a ``trainer`` that says so) shares the model among ranks. In a notebook the result draws itself. Raises InputError.
    """
    wanted = Wanted(
        purpose, batch_size, sequence_length, max_new_tokens, gradient_checkpointing, optimizer, lora_rank, images, image_size, (gpu,) if isinstance(gpu, str) else tuple(gpu), ram,
        world_size, zero_stage, fsdp, tuple(offload), kwargs,
    )  # fmt: skip
    return fit_of(model, wanted, trainer=trainer, peft=peft, facts=facts, online=online)


def fit_of(
    model: str | os.PathLike[str],
    wanted: Wanted,
    *,
    trainer: Any = None,
    peft: Any = None,
    facts: FactsLike = None,
    online: bool | float = False,
) -> Fit:
    """The same for what is already gathered. Raises InputError."""
    cards = cards_of(list(wanted.gpu))
    ram = None if wanted.ram is None else size_of(wanted.ram, "--ram")
    case = api.situation(model, wanted.purpose, None, peft, trainer, facts, wanted.kwargs, online)
    case = replace(case, facts=thought_of(case.facts, cards, ram))
    rooms = rooms_of(case, thought_of=bool(cards))
    case = _as_job(case, wanted, len(rooms))
    call = _call(case, wanted)
    try:
        return answered(os.fspath(model), Question(call, rooms), case.notes)
    except Undecided as undecided:
        raise InputError(f"{os.fspath(model)}: the size of the weights is not known: {undecided.reason}") from undecided


def _as_job(case: Situation, wanted: Wanted, gpus: int) -> Situation:
    """The situation with what the call says of ranks. Raises InputError."""
    trainer = dict(case.request.trainer or {})
    if wanted.zero_stage is not None and wanted.fsdp:
        raise InputError("ZeRO and FSDP are both given; a job shares its model in one way")
    if strange := sorted(set(wanted.offload) - set(OFFLOADS)):
        raise InputError(f"offload {strange[0]!r} is not known; expected {' or '.join(OFFLOADS)}")
    if (
        wanted.offload
        and wanted.zero_stage is None
        and not wanted.fsdp
        and not trainer.get("deepspeed")
        and not trainer.get("fsdp")
    ):
        raise InputError("--offload goes with --zero-stage or --fsdp: one process keeps its optimizer where its weights are")
    if wanted.zero_stage is not None:
        away = {
            f"offload_{name}": {"device": "cpu"}
            for name, said in zip(("optimizer", "param"), OFFLOADS, strict=True)
            if said in wanted.offload
        }
        trainer["deepspeed"] = {"zero_optimization": {"stage": wanted.zero_stage, **away}, "bf16": {"enabled": True}}
    elif wanted.fsdp:
        trainer["fsdp"] = "full_shard auto_wrap" + " offload" * bool(wanted.offload)
    shares = bool(trainer.get("deepspeed") or trainer.get("fsdp"))
    ranks = _ranks(case, wanted, shares, gpus)
    if ranks is not None:
        local = min(ranks, gpus) if gpus else ranks
        case = replace(case, facts=replace(case.facts, launch=Launch("torchrun", ranks, 0, 0, local, False, False, False)))
    keep = trainer if trainer or case.request.trainer is not None else None
    return replace(case, request=replace(case.request, trainer=keep))


def _ranks(case: Situation, wanted: Wanted, shares: bool, gpus: int) -> int | None:
    """How many, where the call decides it: as it says, else one for each GPU where the model is shared. None: as the launch says."""
    if wanted.world_size is not None:
        if not isinstance(wanted.world_size, int) or not 0 < wanted.world_size <= 2**16:
            raise InputError(f"world size {wanted.world_size!r}: expected how many ranks there are, a whole number from 1 on")
        return wanted.world_size
    launch = case.facts.launch
    known = (
        not isinstance(launch, Unknown)
        and isinstance(launch.world_size, int)
        and (launch.world_size > 1 or launch.launcher != "python")
    )
    if not shares or known:
        return None
    if not gpus:
        raise InputError("the model is shared among ranks; say with --world-size how many there are")
    return gpus


def _call(case: Situation, wanted: Wanted) -> Call:
    """What is estimated. Raises InputError."""
    purpose = case.request.purpose
    if purpose not in PURPOSES:
        raise InputError(f"purpose {purpose!r} is not one that a step is known of; expected one of {', '.join(PURPOSES)}")
    plan = make_plan(case)
    quantization = quantization_of(case, plan.quantization)
    if quantization is None and purpose == "qlora":
        quantization = FOUR_BITS
    old = attempt(lambda: case.packages.at_least("transformers", 5)) is False
    attention = case.request.kwargs.get("attn_implementation", "sdpa")
    return Call(
        case, _dtype(case), quantization, attention if isinstance(attention, str) else "sdpa", _asked(case, wanted),
        capability_of(case), not old, _sharing(case), loader_of(case, plan),
    )  # fmt: skip


def _dtype(case: Situation) -> str:
    """As the call names it, else the checkpoint's."""
    kwargs = case.request.kwargs
    given = kwargs.get("dtype", kwargs.get("torch_dtype"))
    name = given.name if isinstance(given, Dtype) else given
    if name in WIDTHS:
        return str(name)
    return case.checkpoint.dtype if case.checkpoint.dtype in ("bfloat16", "float16", "float32") else "float32"


def _asked(case: Situation, wanted: Wanted) -> Asked:
    """The step: as the call says, else as the trainer's settings do. Raises InputError."""
    trainer = case.request.trainer or {}
    config = trainer.get("deepspeed")
    micro = config.get("train_micro_batch_size_per_gpu") if isinstance(config, Mapping) else None
    said = next(
        (
            size
            for size in (wanted.batch_size, trainer.get("per_device_train_batch_size"), micro)
            if size is not None and size != "auto"
        ),
        1,
    )
    sizes = {
        "batch_size": said,
        "sequence_length": wanted.sequence_length,
        "images": wanted.images,
        "image_size": wanted.image_size,
    }
    if case.request.purpose == "inference":
        found = read_asked({**sizes, "max_new_tokens": wanted.max_new_tokens}, None)
    else:
        own = {
            "gradient_checkpointing": trainer.get("gradient_checkpointing") is True if wanted.gradient_checkpointing is None else wanted.gradient_checkpointing,
            "gradient_checkpointing_kwargs": trainer.get("gradient_checkpointing_kwargs"),
            "optimizer": wanted.optimizer or trainer.get("optim") or "adamw_torch",
            "lora_rank": wanted.lora_rank, "method": "full" if case.request.purpose == "full" else "lora", "amp": _amp(case, trainer),
        }  # fmt: skip
        found = read_asked(None, {**sizes, **own})
    assert found is not None
    return found


def _amp(case: Situation, trainer: Mapping[str, Any]) -> str | None:
    """The precision of the step: as the settings say; bfloat16 where there are none that say anything of it."""
    named = case.request.computes_in
    if named:
        return sorted(named)[0]
    said = {"bf16", "fp16", "accelerate_mixed_precision", "output_dir"} & trainer.keys()
    return None if said else "bf16"


def _sharing(case: Situation) -> Sharing | None:
    """How ranks hold the model; None for one process. Raises InputError where that cannot be told."""
    launch = case.facts.launch
    try:
        found = sharing_of(
            case.request.trainer or {}, Launch("python", 1, 0, 0, 1, False, False, False) if isinstance(launch, Unknown) else launch
        )
    except Undecided as undecided:
        raise InputError(
            f"{undecided.reason} is not known; --world-size says how many ranks, --zero-stage or --fsdp how they share it"
        ) from undecided
    if not found.kind:
        return None
    if case.request.device_map is not None and case.request.purpose != "inference":
        raise InputError("a device_map spreads the model of one process, and here there are several ranks; leave it out")
    return found if case.request.device_map is None else None
