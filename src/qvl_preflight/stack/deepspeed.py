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
# What is compared with what (fill_match), in its order. A value that the configuration calls "auto" is taken from TrainingArguments.
_COMPARED: tuple[tuple[str, str], ...] = (
    ("train_micro_batch_size_per_gpu", "per_device_train_batch_size"), ("gradient_accumulation_steps", "gradient_accumulation_steps"),
    ("gradient_clipping", "max_grad_norm"), ("optimizer.params.lr", "learning_rate"), ("optimizer.params.eps", "adam_epsilon"),
    ("optimizer.params.weight_decay", "weight_decay"), ("scheduler.params.warmup_max_lr", "learning_rate"),
)  # fmt: skip
_MISMATCH = "Please correct the following DeepSpeed config values that mismatch TrainingArguments values:\n{}"
_PRECISION = "`--mixed_precision` arg cannot be set to `{asked}` when `{set}` is set in the DeepSpeed config file."
# What fp16 is called there, the switch of apex included (integrations/deepspeed.py trainer_config_process).
_FP16_NAME = ByRelease(
    "transformers",
    Row("4.28", "5.0", "fp16|fp16_full_eval+fp16_backend(amp)", Evidence.RUN, "transformers 4.37.2, 4.57.1 with deepspeed 0.18.3; 4.28.1 deepspeed.py"),
    Row("5.0", None, "fp16|fp16_full_eval", Evidence.RUN, "transformers 5.23.0 with deepspeed 0.18.3"),
)  # fmt: skip
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
        named = trainer.get("accelerate_mixed_precision") == asked
        if (trainer.get(asked) is True or named) and trainer.get(other) is not True and value(found, f"{other}.enabled") is True:
            why = f"{'mixed_precision is' if named else 'TrainingArguments ask for'} {asked}, and the DeepSpeed configuration switches {other} on"
            text = _PRECISION.format(asked=asked, set=other)
            yield WillRaise("QVL711", Stage.TRAINER, "ValueError", text, "deepspeed-values", why, evidence=_evidence(situation))
    lines = [
        f"- ds {path}={there} vs hf {name}={trainer[name]}"
        for path, name in _COMPARED
        if _is_number(there := value(found, path)) and _is_number(trainer.get(name)) and there != trainer[name]
    ]
    precision = _precision(situation, found, trainer)
    if both := value(found, "fp16.enabled") is True and value(found, "bf16.enabled") is True:
        precision = precision or [
            f"- ds fp16.enabled=True vs hf {_fp16_name(situation)}=False",
            "- ds bf16.enabled=True vs hf bf16|bf16_full_eval=False",
        ]
    lines += precision
    if lines:
        why = f"the DeepSpeed configuration contradicts TrainingArguments: {'; '.join(line[2:] for line in lines)}"
        if both:  # whatever TrainingArguments say, and DeepSpeed itself refuses it as well
            why = "the DeepSpeed configuration switches both fp16 and bf16 on, and a step has one precision"
        text = _MISMATCH.format("\n".join(lines))
        yield WillRaise("QVL711", Stage.TRAINER, "ValueError", text, "deepspeed-values", why, evidence=_evidence(situation))


def _precision(situation: Situation, found: Mapping[str, Any], trainer: Mapping[str, Any]) -> list[str]:
    """Where the configuration switches a precision on or off and TrainingArguments, which name it, do the other."""
    lines = []
    for name, shown in (("fp16", _fp16_name(situation)), ("bf16", "bf16|bf16_full_eval")):
        there, here = value(found, f"{name}.enabled"), trainer.get(name)
        asked = here is True or trainer.get(f"{name}_full_eval") is True
        if isinstance(there, bool) and isinstance(here, bool) and there is not asked:
            lines.append(f"- ds {name}.enabled={there} vs hf {shown}={asked}")
    return lines


def _fp16_name(situation: Situation) -> str:
    name = attempt(lambda: _FP16_NAME.value(situation.packages))
    return "fp16|fp16_full_eval" if isinstance(name, Unknown) else name  # the beginning of either


def _is_number(given: Any) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool)


def _evidence(situation: Situation) -> Evidence:
    """Run with transformers 4.37.2, 4.57.1 and 5.23.0; read in the releases before, where the lines are the same."""
    return Evidence.RUN if situation.packages.at_least("transformers", 4, 37) else Evidence.SOURCE


# The oldest that TrainingArguments take (dependency_versions_table.py).
_OLDEST = ByRelease(
    "transformers",
    Row("4.28", "4.31", (0, 8, 3), Evidence.SOURCE, "transformers 4.28.1, 4.30.2 dependency_versions_table.py"),
    Row("4.31", None, (0, 9, 3), Evidence.RUN, "transformers 4.37.2, 4.57.1, 5.23.0"),
)
_ABSENT = "No package metadata was found for The 'deepspeed>={0}' distribution was not found and is required by this application."
_TOO_OLD = "deepspeed>={0} is required for a normal functioning of this module, but found deepspeed=={1}."
_LAUNCH_WITHOUT = "DeepSpeed is not installed => run `pip3 install deepspeed` or build it from source."


def launched_without(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: ``accelerate launch`` with DeepSpeed in its configuration, and no DeepSpeed: no process is started (run: accelerate 0.26.1, 1.15)."""
    if "beside_deepspeed_config_file" in (situation.request.trainer or {}) and not situation.packages.has("deepspeed"):
        why = "accelerate's configuration asks for DeepSpeed, which is not installed: no process is started"
        yield WillRaise("QVL715", Stage.ENVIRONMENT, "ImportError", _LAUNCH_WITHOUT, "deepspeed-absent", why, evidence=Evidence.RUN)


def installed(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: TrainingArguments ask for DeepSpeed as soon as they are made, whatever the device, and it is not installed or too old."""
    if not situation.request.trains or not (situation.request.trainer or {}).get("deepspeed"):
        return
    version = situation.packages.version("deepspeed")
    row = _OLDEST.row(situation.packages)
    oldest = ".".join(map(str, row.value))
    if version is None:
        why = "DeepSpeed is asked for, and it is not installed: TrainingArguments cannot be made"
        text, kind = _ABSENT.format(oldest), "PackageNotFoundError"
    elif not situation.packages.at_least("deepspeed", *row.value):
        why = f"DeepSpeed {version} is older than {oldest}, which TrainingArguments ask for"
        text, kind = _TOO_OLD.format(oldest, version), "ImportError"
    else:
        return
    evidence = row.evidence if version is None else Evidence.SOURCE
    yield WillRaise("QVL715", Stage.TRAINER, kind, text, "deepspeed-absent", why, evidence=evidence)


def launcher(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """TRAINER: a DeepSpeed configuration in a process that no launcher of ranks started. DeepSpeed then asks MPI who it is."""
    launch, trainer = situation.facts.launch, situation.request.trainer or {}
    if isinstance(launch, Unknown) or launch.launcher not in ("python", "notebook") or not trainer.get("deepspeed"):
        return
    if draft.failed("deepspeed-absent"):
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
