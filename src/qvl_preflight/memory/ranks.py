"""How the ranks of a job hold a model: each the whole (DDP), or together (ZeRO, FSDP). Read from the trainer's settings and the launch.

Sources: deepspeed 0.14.5 and 0.18.3 runtime/zero/config.py (the defaults), transformers 4.32 to 5.23 integrations/deepspeed.py (what "auto" becomes),
torch 2.14 distributed/fsdp, accelerate 1.15 utils/dataclasses.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.devices import is_rank, may_be_rank
from qvl_preflight.unknown import Undecided, Unknown, need

if TYPE_CHECKING:
    from qvl_preflight.facts import Launch

REDUCE_BUCKET = 500_000_000  # elements (deepspeed zero/config.py reduce_bucket_size)
LIVE = 1_000_000_000  # elements (stage3_max_live_parameters, stage3_max_reuse_distance)


@dataclass(frozen=True)
class Sharing:
    """What a rank holds of a model. ``stage``: of ZeRO; ``on_host``: ranks of one machine. The bucket and what is gathered: in elements; None
    for a bucket as large as transformers makes it ("auto": hidden size squared)."""

    ranks: int = 1
    on_host: int = 1
    stage: int = 0
    fsdp: bool = False
    reshards: bool = True
    wraps: bool = True
    states_away: bool = False
    weights_away: bool = False
    half: bool = True
    buckets: int = 1
    bucket: int | None = REDUCE_BUCKET
    live: int = LIVE

    @property
    def kind(self) -> str:
        """In a word."""
        name = "FSDP" if self.fsdp else f"ZeRO-{self.stage}" if self.stage else "DDP"
        return name if self.ranks > 1 or name != "DDP" else ""


def sharing_of(trainer: Mapping[str, Any], launch: Launch | Unknown) -> Sharing:
    """As the settings and the launch say. Raises Undecided where it is not known whether, or among how many, the model is shared."""
    given, sharded = trainer.get("deepspeed"), bool(trainer.get("fsdp"))
    if isinstance(launch, Unknown) or may_be_rank(launch):
        raise Undecided("how many ranks hold the model")
    if given is not None and not isinstance(given, Mapping):
        raise Undecided("the DeepSpeed configuration was not read")
    if not given and not sharded and (need(launch.fsdp) or need(launch.deepspeed_zero)):
        raise Undecided("how the launch shards the model")
    ranks = need(launch.world_size) if is_rank(launch) else 1
    local = launch.local_world_size if isinstance(launch.local_world_size, int) and ranks > 1 else ranks
    if sharded:
        return _fsdp(trainer, ranks, local)
    return _zero(given, ranks, local) if given else Sharing(ranks, local)


def _fsdp(trainer: Mapping[str, Any], ranks: int, local: int) -> Sharing:
    parts = [part for part in (trainer.get("fsdp_config"), trainer.get("fsdp")) if isinstance(part, Mapping)]
    settings = {str(key).removeprefix("fsdp_"): value for part in parts for key, value in part.items()}
    words = str(trainer["fsdp"])
    away = "offload" in words or _on(settings.get("offload_params")) or _on(settings.get("cpu_offload"))
    kept = "shard_grad_op" in words or str(settings.get("sharding_strategy", "")).upper() in ("2", "SHARD_GRAD_OP")
    again = str(settings.get("reshard_after_forward", "true")).lower() not in ("false", "shard_grad_op", "2")
    if "no_shard" in words or str(settings.get("sharding_strategy", "")).upper() in ("3", "NO_SHARD"):
        raise Undecided("FSDP is told to shard nothing")
    if "hybrid_shard" in words or "HYBRID" in str(settings.get("sharding_strategy", "")).upper():
        raise Undecided("how many ranks of FSDP's hybrid sharding hold the model together")
    policy = settings.get("transformer_layer_cls_to_wrap") or settings.get("auto_wrap_policy") not in (None, "NO_WRAP")
    wraps = "auto_wrap" in words or bool(policy)
    return Sharing(ranks, local, fsdp=True, reshards=again and not kept, wraps=wraps, states_away=away, weights_away=away)


def _zero(given: Mapping[str, Any], ranks: int, local: int) -> Sharing:
    zero = given.get("zero_optimization")
    zero = zero if isinstance(zero, Mapping) else {}
    stage = zero.get("stage", 0)
    if not stage or not isinstance(stage, int):
        raise Undecided("which stage of ZeRO is in use")
    if any(str(key).startswith("bf16_") for key in (given.get("bf16") or {})):
        raise Undecided("DeepSpeed is told to keep its states in bfloat16")
    half = [part for name in ("bf16", "fp16") if isinstance(part := given.get(name), Mapping)]
    contiguous = zero.get("contiguous_gradients", True) is not False
    overlap = zero.get("overlap_comm", stage == 3) is True and stage < 3
    return Sharing(
        ranks, local, stage,
        states_away=_device(zero.get("offload_optimizer")) or zero.get("cpu_offload") is True,
        weights_away=_device(zero.get("offload_param")) or zero.get("cpu_offload_param") is True,
        half=not half or any(part.get("enabled", True) not in (False, "false") for part in half),
        buckets=(1 + overlap) * contiguous, bucket=_elements(zero.get("reduce_bucket_size"), REDUCE_BUCKET),
        live=_elements(zero.get("stage3_max_live_parameters", zero.get("max_live_parameters")), LIVE) or LIVE,
    )  # fmt: skip


def _device(part: Any) -> bool:
    """Is something offloaded? An object without a device, or with the device "none", offloads nothing."""
    return isinstance(part, Mapping) and str(part.get("device") or "none").lower() != "none"


def _elements(value: Any, default: int) -> int | None:
    if value == "auto":
        return None
    try:
        return max(0, int(float(value)))
    except (TypeError, ValueError, OverflowError):
        return default


def _on(value: Any) -> bool:
    return value is True or str(value).strip().lower() in ("1", "true", "yes")
