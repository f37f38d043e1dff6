"""DeepSpeed under transformers' Trainer: what its configuration must agree with, who must start it, and what ZeRO-3 does to quantised layers.

Sources: transformers 4.32 to 5.23 deepspeed.py and integrations/deepspeed.py (HfTrainerDeepSpeedConfig), modeling_utils.py; accelerate 0.23 to
1.15 utils/dataclasses.py, state.py; deepspeed 0.18.3 comm/comm.py. Run without a GPU: transformers 5.23.0, accelerate 1.15.0, deepspeed
0.18.3, bitsandbytes 0.50.2, two ranks over gloo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.transformers import zero3
from qvl_preflight.unknown import Unknown, attempt
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Quantization, Situation
    from qvl_preflight.request import Request

# Since this release the layers of a quantised model are left out of zero.Init, which would partition them before they are quantised.
_SPARES_QUANTIZED = ByRelease(
    "transformers",
    Row("4.28", "4.39", False, Evidence.SOURCE, "transformers 4.37.2 modeling_utils.py:3579, 4.38.2 modeling_utils.py:3360"),
    Row("4.39", None, True, Evidence.RUN, "transformers 4.39.3 modeling_utils.py, run with 5.23.0"),
)
# What is compared with what (fill_match). A value that the configuration calls "auto" is taken from TrainingArguments.
_COMPARED: tuple[tuple[str, str], ...] = (
    ("train_micro_batch_size_per_gpu", "per_device_train_batch_size"), ("gradient_accumulation_steps", "gradient_accumulation_steps"),
    ("gradient_clipping", "max_grad_norm"), ("optimizer.params.lr", "learning_rate"), ("optimizer.params.eps", "adam_epsilon"),
    ("optimizer.params.weight_decay", "weight_decay"), ("scheduler.params.warmup_max_lr", "learning_rate"),
)  # fmt: skip
_MISMATCH = "Please correct the following DeepSpeed config values that mismatch TrainingArguments values:\n{}"
_PRECISION = "`--mixed_precision` arg cannot be set to `{asked}` when `{set}` is set in the DeepSpeed config file."
# DeepSpeed takes them from the launcher; without them it looks for MPI.
LAUNCHER_VARIABLES = "RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT"


def config(request: Request) -> Mapping[str, Any] | None:
    """The DeepSpeed configuration of the trainer's settings; None where there is none, or its file was not read."""
    given = (request.trainer or {}).get("deepspeed")
    return given if isinstance(given, Mapping) else None


def value(found: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path of a configuration; None where there is none."""
    inner: Any = found
    for key in path.split("."):
        inner = inner.get(key) if isinstance(inner, Mapping) else None
    return inner


def spares_quantized(situation: Situation) -> bool:
    """Does this release keep zero.Init away from the layers of a quantised model? Raises Undecided."""
    return _SPARES_QUANTIZED.value(situation.packages)


def storage(quantization: Quantization) -> str:
    """The dtype in which 4-bit weights lie: ``uint8`` unless told otherwise; 8-bit weights lie in int8."""
    if quantization.bits == 8:
        return "int8"
    said = quantization.config.get("bnb_4bit_quant_storage")
    return str(getattr(said, "name", said) or "uint8").removeprefix("torch.")


def gathers_integers(situation: Situation, quantization: Quantization | None) -> bool:
    """Will ZeRO-3 partition weights that lie in an integer dtype? Its first gather then mixes that with the dtype of training and raises.

    Run over gloo: "invalid tensor type"; the same weights in bfloat16 storage train.
    """
    return (
        zero3(situation)
        and situation.request.trains
        and quantization is not None
        and quantization.method == "bitsandbytes"
        and storage(quantization) in ("uint8", "int8")
    )


def agreement(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: values of the DeepSpeed configuration that contradict TrainingArguments. Only what both name is compared."""
    found, trainer = config(situation.request), situation.request.trainer or {}
    if found is None or situation.request.trains_on_cpu or not situation.request.trains:
        return
    for asked, other in (("bf16", "fp16"), ("fp16", "bf16")):
        if trainer.get(asked) is True and trainer.get(other) is not True and value(found, f"{other}.enabled") is True:
            why = f"TrainingArguments ask for {asked}, and the DeepSpeed configuration switches {other} on"
            text = _PRECISION.format(asked=asked, set=other)
            yield WillRaise("QVL711", Stage.TRAINER, "ValueError", text, "deepspeed-values", why, evidence=_evidence(situation))
    lines = [
        f"- ds {path}={there} vs hf {name}={trainer[name]}"
        for path, name in _COMPARED
        if _is_number(there := value(found, path)) and _is_number(trainer.get(name)) and there != trainer[name]
    ]
    if lines:
        why = f"the DeepSpeed configuration contradicts TrainingArguments: {'; '.join(line[2:] for line in lines)}"
        text = _MISMATCH.format("\n".join(lines))
        yield WillRaise("QVL711", Stage.TRAINER, "ValueError", text, "deepspeed-values", why, evidence=_evidence(situation))


def _is_number(given: Any) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool)


def _evidence(situation: Situation) -> Evidence:
    """Run with transformers 5.23; read in the releases before, where the lines are the same."""
    return Evidence.RUN if situation.packages.at_least("transformers", 5) else Evidence.SOURCE


def launcher(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: a DeepSpeed configuration in a process that no launcher of ranks started. DeepSpeed then asks MPI who it is."""
    launch, trainer = situation.facts.launch, situation.request.trainer or {}
    if isinstance(launch, Unknown) or launch.launcher not in ("python", "notebook") or not trainer.get("deepspeed"):
        return
    mpi = attempt(lambda: situation.packages.has("mpi4py"))
    if mpi is True or not situation.request.trains:
        return
    why = f"DeepSpeed is asked for, and this process was started by {launch.launcher}: {LAUNCHER_VARIABLES} are not set"
    condition = "the script does not set them itself" + (", and mpi4py is not installed" if isinstance(mpi, Unknown) else "")
    text = "No module named 'mpi4py'"
    yield WillRaise(
        "QVL710", Stage.TRAINER, "ModuleNotFoundError", text, "deepspeed-launcher", why, condition, evidence=Evidence.RUN
    )


_BESIDE_FILE = (
    "When using `deepspeed_config_file`, the following accelerate config variables will be ignored: ['gradient_accumulation_steps', "
    "'gradient_clipping', 'zero_stage', 'offload_optimizer_device', 'offload_param_device', 'offload_param_nvme_path', "
    "'offload_optimizer_nvme_path', 'zero3_save_16bit_model', 'mixed_precision']."
)


def beside_file(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: an accelerate configuration that names a DeepSpeed file, and sets what belongs into that file (run with accelerate 1.15)."""
    names = (situation.request.trainer or {}).get("beside_deepspeed_config_file")
    if not isinstance(names, list) or not names:
        return
    why = f"accelerate's configuration names a DeepSpeed file, and sets {', '.join(map(str, names))} beside it"
    evidence = Evidence.RUN if situation.packages.at_least("accelerate", 1) else Evidence.SOURCE
    yield WillRaise("QVL713", Stage.TRAINER, "ValueError", _BESIDE_FILE, "deepspeed-beside-file", why, evidence=evidence)
