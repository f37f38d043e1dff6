"""Runs the stages of a load in the order in which a release runs them, and makes the plan of what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from qvl_preflight import strict
from qvl_preflight.plan import Draft, LoadPlan, Situation, Stage, WillRaise
from qvl_preflight.stack import (
    absent,
    attention,
    auto_classes,
    awq,
    awq_kernels,
    bitsandbytes,
    bnb_environment,
    bnb_library,
    bnb_moved,
    broken_files,
    config_mistakes,
    config_objects,
    config_values,
    copied_code,
    deepspeed,
    deepspeed_ops,
    dtype_forms,
    files,
    fp8_forward,
    fsdp,
    gptq,
    gptq_blocks,
    gptq_environment,
    gptq_settings,
    gptqmodel_use,
    kernel_images,
    left_over,
    lora,
    lora_settings,
    lora_step,
    lora_targets,
    map_forms,
    map_holes,
    mirrors,
    newer,
    no_split,
    offload,
    other_devices,
    out_of_memory,
    own_code,
    peft,
    placement,
    precision,
    quant_arguments,
    quant_dtype,
    quant_environment,
    quant_methods,
    quant_training,
    quantizers,
    skew,
    tensor_parallel,
    trainer,
    training_arguments,
    training_choices,
    transformers,
    weight_arguments,
    weight_choice,
)
from qvl_preflight.unknown import Undecided, Unknown
from qvl_preflight.versions import NEWEST, newer_than_read

Step = Callable[[Situation, Draft], Iterator[WillRaise]]

# The order of 4.x and 5.x alike: arguments are checked before the configuration is read, the quantizer checks its environment before
# the dtype, the model is built before its linear layers are replaced, "auto" is worked out after that (modeling_utils.py from_pretrained).
# An Auto class has found configuration and class before it hands the arguments on (auto_factory.py).
STEPS: tuple[tuple[Stage, Step], ...] = (
    (Stage.ENVIRONMENT, deepspeed.launched_without),
    (Stage.ENVIRONMENT, skew.imports),
    (Stage.ARGUMENTS, auto_classes.class_exists),
    (Stage.ENVIRONMENT, absent.needed),
    (Stage.ARGUMENTS, config_objects.made),
    (Stage.CONFIG, mirrors.endpoint),
    (Stage.CONFIG, files.forced_download),
    (Stage.CONFIG, files.adapter),
    (Stage.CONFIG, files.configuration),
    (Stage.CONFIG, auto_classes.configuration),
    (Stage.CONFIG, transformers.dtype_in_config),
    (Stage.CONFIG, config_mistakes.dtype_named),
    (Stage.CONFIG, dtype_forms.in_config),
    (Stage.CONFIG, files.code),
    (Stage.CONFIG, quantizers.none_passed),
    (Stage.CONFIG, auto_classes.model_class),
    (Stage.MODEL, config_values.config_values),
    (Stage.CONFIG, own_code.own_code),
    (Stage.CONFIG, copied_code.copied_code),
    (Stage.ARGUMENTS, transformers.arguments),
    (Stage.ARGUMENTS, weight_arguments.weight_arguments),
    (Stage.ARGUMENTS, other_devices.plugin),
    (Stage.ARGUMENTS, transformers.launch_arguments),
    (Stage.ARGUMENTS, tensor_parallel.tp_plan),
    (Stage.CONFIG, quant_arguments.twice),
    (Stage.CONFIG, quant_methods.known),
    (Stage.CONFIG, bitsandbytes.both_widths),
    (Stage.CONFIG, quantizers.malformed),
    (Stage.CONFIG, awq.made),
    (Stage.CONFIG, config_mistakes.bits),
    (Stage.CONFIG, quantizers.merge),
    (Stage.CONFIG, gptq_settings.settings),
    (Stage.CONFIG, awq_kernels.settings),
    (Stage.CONFIG, bitsandbytes.settings),
    (Stage.ENVIRONMENT, newer.minima),
    (Stage.ENVIRONMENT, gptq_environment.environment),
    (Stage.ENVIRONMENT, bnb_environment.environment),
    (Stage.ENVIRONMENT, bitsandbytes.offloaded),
    (Stage.CONFIG, awq.plain),
    (Stage.CONFIG, quant_environment.calibrated),
    (Stage.ENVIRONMENT, awq.environment),
    (Stage.ENVIRONMENT, quant_environment.environment),
    (Stage.CONFIG, weight_choice.weights),
    (Stage.DTYPE, dtype_forms.forms),
    (Stage.DTYPE, transformers.dtype),
    (Stage.DTYPE, quant_dtype.dtype_of_method),
    (Stage.MODEL, quant_arguments.twice_in_5),
    (Stage.MODEL, attention.before_the_class),
    (Stage.MODEL, left_over.left_over),
    (Stage.MODEL, quant_arguments.stray),
    (Stage.MODEL, awq.import_break),
    (Stage.MODEL, attention.attention),
    (Stage.KERNEL, gptq_blocks.blocks),
    (Stage.KERNEL, gptq.kernel),
    (Stage.KERNEL, awq_kernels.kernel),
    (Stage.DEVICE_MAP, no_split.unsupported),
    (Stage.DEVICE_MAP, map_forms.forms),
    (Stage.DEVICE_MAP, other_devices.other_devices),
    (Stage.DEVICE_MAP, map_forms.limits),
    (Stage.DEVICE_MAP, bitsandbytes.counted_by_accelerate),
    (Stage.DEVICE_MAP, placement.limits),
    (Stage.DEVICE_MAP, placement.map_values),
    (Stage.DEVICE_MAP, placement.place),
    (Stage.KERNEL, bitsandbytes.layers),
    (Stage.MATERIALISE, other_devices.mps_bfloat16),
    (Stage.MATERIALISE, bnb_library.library),
    (Stage.MATERIALISE, bitsandbytes.quant_type),
    (Stage.MATERIALISE, quant_environment.not_ported),
    (Stage.MATERIALISE, placement.materialise),
    (Stage.MATERIALISE, offload.to_disk),
    (Stage.MATERIALISE, gptqmodel_use.marlin_split),
    (Stage.MATERIALISE, out_of_memory.weights_fit),
    (Stage.MATERIALISE, map_holes.dispatched),
    (Stage.MATERIALISE, bnb_moved.moved_again),
    (Stage.MATERIALISE, weight_arguments.other_frameworks),
    (Stage.MATERIALISE, broken_files.unpickling),
    (Stage.MATERIALISE, broken_files.missing),
    (Stage.MATERIALISE, broken_files.damaged),
    (Stage.MATERIALISE, broken_files.nothing_said),
    (Stage.MATERIALISE, config_mistakes.shapes),
    (Stage.MATERIALISE, gptq_environment.quantizing),
    (Stage.MATERIALISE, gptq.post_init),
    (Stage.MATERIALISE, gptqmodel_use.first_use),
    (Stage.FORWARD, kernel_images.first_kernel),
    (Stage.FORWARD, gptqmodel_use.forward),
    (Stage.FORWARD, awq.forward),
    (Stage.FORWARD, placement.meta),
    (Stage.FORWARD, attention.forward),
    (Stage.FORWARD, fp8_forward.fp8_forward),
    (Stage.FORWARD, gptqmodel_use.marlin_dtype),
    (Stage.FORWARD, precision.half_on_cpu),
    (Stage.ADAPTERS, absent.adapters),
    (Stage.ADAPTERS, awq.adapters),
    (Stage.ADAPTERS, skew.adapters),
    (Stage.ADAPTERS, lora_settings.made),
    (Stage.ADAPTERS, lora.settings),
    (Stage.ADAPTERS, lora_settings.applied),
    (Stage.ADAPTERS, bnb_environment.adapters),
    (Stage.ADAPTERS, peft.adapters),
    (Stage.ADAPTERS, quant_training.adapters_on_layers),
    (Stage.ADAPTERS, lora_targets.targets),
    (Stage.ADAPTERS, lora.saved_modules),
    (Stage.TRAINER, absent.trainer),
    (Stage.TRAINER, training_arguments.training_arguments),
    (Stage.TRAINER, training_choices.training_choices),
    (Stage.TRAINER, precision.bf16),
    (Stage.TRAINER, precision.both_precisions),
    (Stage.TRAINER, precision.fp16),
    (Stage.TRAINER, precision.tf32),
    (Stage.TRAINER, deepspeed.installed),
    (Stage.TRAINER, fsdp.alone),
    (Stage.TRAINER, trainer.adapters_wanted),
    (Stage.TRAINER, quant_training.trainable),
    (Stage.TRAINER, trainer.distributed),
    (Stage.TRAINER, fsdp.flatten),
    (Stage.TRAINER, deepspeed.beside_file),
    (Stage.TRAINER, deepspeed.agreement),
    (Stage.TRAINER, deepspeed.launcher),
    (Stage.TRAINER, deepspeed_ops.build),
    (Stage.TRAINER, out_of_memory.move_fits),
    (Stage.TRAINER, training_choices.training_numbers),
    (Stage.TRAINER, training_choices.optimizer_package),
    (Stage.STEP, fp8_forward.fp8_step),
    (Stage.STEP, bitsandbytes.trainer_step),
    (Stage.STEP, trainer.offloaded),
    (Stage.STEP, gptqmodel_use.step),
    (Stage.STEP, precision.unscale),
    (Stage.STEP, lora_step.checkpointing),
    (Stage.STEP, lora_step.merged_afterwards),
    (Stage.STEP, out_of_memory.training_fits),
)


def make_plan(situation: Situation) -> LoadPlan:
    """The plan for a call. A step that needs something unknown is noted as undecided; the others go on."""
    draft = Draft()
    for stage, step in STEPS:
        try:
            for raised in step(situation, draft):
                if not draft.failed(raised.cause):  # what follows from the same cause is a consequence
                    draft.raises.append(raised)
        except Undecided as undecided:
            draft.undecided.append((stage, step.__name__, undecided.reason))
        except Exception as error:  # a step of ours that breaks leaves its question open, and the others go on
            if strict.ON:
                raise
            draft.undecided.append((stage, step.__name__, f"the check failed: {type(error).__name__}: {error}; please report it"))
    _without_kernel(draft)
    if newer := newer_than_read(situation.packages):
        condition = f"{newer[0]} does as {newer[0].split()[0]} {NEWEST[newer[0].split()[0]]}, the newest that was read"
        condition += _changed_methods(situation, draft)
        draft.raises = [replace(raised, condition=raised.condition or condition) for raised in draft.raises]
    return LoadPlan(
        draft.quantization, draft.dtype, draft.device_map, draft.devices, draft.kernel, draft.kernel_condition, draft.trainable,
        tuple(draft.raises), tuple(draft.undecided), draft.memory, draft.split_is_about, placement.idle_gpu(situation, draft),
    )  # fmt: skip


def _changed_methods(situation: Situation, draft: Draft) -> str:
    """What of this call's quantizer is another in the installed release than in the newest that was read."""
    quantization, auto = draft.quantization, situation.auto_classes
    if isinstance(quantization, Unknown) or quantization is None or auto is None:
        return ""
    file = (
        "bnb_"
        if quantization.method == "bitsandbytes"
        else {"fp8": "finegrained_fp8"}.get(quantization.method, quantization.method.replace("-", "_"))
    )
    found = [name.partition(" ")[2] for name in auto.changed if name.startswith(file)]
    return f"; {', '.join(found)} of its files {'is' if len(found) == 1 else 'are'} not as there" if found else ""


def _without_kernel(draft: Draft) -> None:
    if draft.quantization is None:
        draft.kernel, draft.trainable = None, True
