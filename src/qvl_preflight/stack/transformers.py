"""from_pretrained itself: its arguments, the dtype, the attention, where the model is put.

Sources: transformers 4.32 to 4.57 modeling_utils.py from_pretrained; 5.x also integrations/accelerate.py check_and_set_device_map.
Recorded on an H100 (4.32.0, 4.37.2, 5.17.0, 5.23.0) and run on a CPU (4.37.2, 5.23.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.missing import MISSING
from qvl_preflight.plain_names import NARROW_FLOATS, NOT_FLOATING
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.request import Dtype, TorchDevice, device_name, show
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.stack.left_over import class_made
from qvl_preflight.unknown import Undecided, Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.facts import Launch
    from qvl_preflight.plan import Draft, Situation

# torch.device(…) takes these types (torch 2.13 c10/core/Device.cpp); npu and hpu once their plugin is there.
DEVICE_TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy", "vulkan", "mps", "meta",
    "hpu", "mtia", "privateuseone", "npu", "mlu", "musa",
)  # fmt: skip
_BAD_STRING = (
    "When passing device_map as a string, the value needs to be a device name (e.g. cpu, cuda:0) or 'auto', 'balanced', 'balanced_low_0', "
    "'sequential' but found {}."
)
_LOW_CPU: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.32", "4.49", "Passing along a `device_map` requires `low_cpu_mem_usage=True`", Evidence.RUN, "transformers 4.37.2 modeling_utils.py:2988"),
    Row("4.49", "4.51", "Passing along a `device_map` or a `tp_plan` requires `low_cpu_mem_usage=True`", Evidence.RUN, "transformers 4.50.3 modeling_utils.py"),
    Row("4.51", None, None, Evidence.RUN, "transformers 4.51.3, 5.23.0: ignored"),
)  # fmt: skip
_ZERO3 = ByRelease(
    "transformers",
    Row("4.32", "4.51", "DeepSpeed Zero-3 is not compatible with `low_cpu_mem_usage=True` or with passing a `device_map`.", Evidence.RUN, "transformers 4.37.2 modeling_utils.py:2993, 4.38.2 modeling_utils.py:2942"),
    Row("4.51", "5.0", "DeepSpeed Zero-3 is not compatible with passing a `device_map`.", Evidence.SOURCE, "transformers 4.51.3 modeling_utils.py:4137, 4.57.1 modeling_utils.py:4804"),
    Row("5.0", None, "DeepSpeed Zero-3 is not compatible with passing a `device_map`.", Evidence.RUN, "transformers 5.23.0 integrations/accelerate.py:137"),
)  # fmt: skip
_NO_ACCELERATE = ByRelease(
    "transformers",
    Row("4.32", "4.38", ("ImportError", "Using `low_cpu_mem_usage=True` or a `device_map` requires Accelerate: `pip install accelerate`"), Evidence.RUN, "transformers 4.37.2 modeling_utils.py"),
    Row("4.38", "4.45", ("ImportError", "Using `low_cpu_mem_usage=True` or a `device_map` requires Accelerate: `pip install 'accelerate>=0.21.0'`"), Evidence.SOURCE, "transformers 4.38.2, 4.44.2 modeling_utils.py"),
    Row("4.45", "4.49", ("ImportError", "Using `low_cpu_mem_usage=True` or a `device_map` requires Accelerate: `pip install 'accelerate>=0.26.0'`"), Evidence.SOURCE, "transformers 4.45.2 modeling_utils.py"),
    Row("4.49", "4.51", ("ImportError", "Using `low_cpu_mem_usage=True`, a `device_map` or a `tp_plan` requires Accelerate: `pip install 'accelerate>=0.26.0'`"), Evidence.SOURCE, "transformers 4.50.3 modeling_utils.py"),
    Row("4.51", "4.55", ("ValueError", "Using a `device_map` or `tp_plan` requires `accelerate`. You can install it with `pip install accelerate`"), Evidence.SOURCE, "transformers 4.51.3 modeling_utils.py"),
    Row("4.55", None, ("ValueError", "Using a `device_map`, `tp_plan`, `torch.device` context manager or setting `torch.set_default_device(device)` requires `accelerate`."), Evidence.RUN, "transformers 5.23.0 integrations/accelerate.py"),
)  # fmt: skip
# Older ones count as missing (ACCELERATE_MIN_VERSION, utils/import_utils.py).
_OLDEST_ACCELERATE: ByRelease[tuple[int, ...]] = ByRelease(
    "transformers",
    Row("4.32", "4.37", (0,), Evidence.SOURCE, "transformers 4.32.0"),
    Row("4.37", "4.45", (0, 21), Evidence.SOURCE, "transformers 4.37.2"),
    Row("4.45", "5.0", (0, 26), Evidence.SOURCE, "transformers 4.45.2, 4.57.1"),
    Row("5.0", None, (1, 1), Evidence.SOURCE, "transformers 5.0.0, 5.23.0"),
)


def arguments(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ARGUMENTS: the device_map and what goes with it, before anything is read."""
    given = situation.request.device_map
    name = given if isinstance(given, str) else None
    if name is not None and name not in STRATEGIES and not is_device(name):
        yield WillRaise(
            "QVL401",
            Stage.ARGUMENTS,
            "ValueError",
            _BAD_STRING.format(name),
            "device-map",
            f'"{name}" is neither a device nor a strategy',
            evidence=Evidence.RECORDED,
        )
    elif isinstance(given, int) and not isinstance(given, bool) and given < 0:
        text = "You can't pass device_map as a negative int. If you want to put the model on the cpu, pass device_map = 'cpu' "
        yield WillRaise(
            "QVL401",
            Stage.ARGUMENTS,
            "ValueError",
            text,
            "device-map",
            "device_map is a negative number",
            evidence=Evidence.RECORDED,
        )
    if given is None:
        return
    if situation.request.kwargs.get("low_cpu_mem_usage") is False and (low := _LOW_CPU.row(situation.packages)).value:
        yield WillRaise(
            "QVL405",
            Stage.ARGUMENTS,
            "ValueError",
            low.value,
            "low-cpu",
            "device_map and low_cpu_mem_usage=False exclude one another in this release",
            evidence=low.evidence,
        )


def launch_arguments(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ARGUMENTS: DeepSpeed ZeRO-3 and accelerate, which a device_map needs."""
    yield from _refused_by_zero3(situation)
    if situation.request.device_map is None:
        return
    installed, oldest = situation.packages.release("accelerate"), _OLDEST_ACCELERATE.value(situation.packages)
    if installed is None or installed < oldest:
        missing = _NO_ACCELERATE.row(situation.packages)
        why = (
            "a device_map needs accelerate, which is not installed"
            if installed is None
            else "the installed accelerate is too old for this transformers and counts as missing"
        )
        yield WillRaise("QVL601", Stage.ARGUMENTS, *missing.value, "accelerate", why, evidence=missing.evidence)


def _refused_by_zero3(situation: Situation) -> Iterator[WillRaise]:
    """The integration of DeepSpeed is on from the moment at which TrainingArguments are made. 4.51 and later ignore low_cpu_mem_usage."""
    low_cpu = situation.request.kwargs.get("low_cpu_mem_usage") is True
    if not zero3(situation) or (situation.request.device_map is None and not low_cpu):
        return
    conditions = ["TrainingArguments are made before the model is loaded"]
    if situation.request.device_map is None:
        ignored = attempt(lambda: situation.packages.at_least("transformers", 4, 51))
        if ignored is True:
            return
        conditions += ["transformers is older than 4.51"] * isinstance(ignored, Unknown)
    row = attempt(lambda: _ZERO3.row(situation.packages))
    row = _ZERO3.rows[0] if isinstance(row, Unknown) and low_cpu else need(row)
    why = "ZeRO-3 shards the model while it loads and refuses device_map and low_cpu_mem_usage=True"
    condition = " and ".join(conditions)
    yield WillRaise("QVL704", Stage.ARGUMENTS, "ValueError", row.value, "zero3", why, condition, row.evidence)


def zero3(situation: Situation) -> bool:
    """Is DeepSpeed ZeRO-3 in use, by the launch or by the trainer's configuration? Unknown counts as no."""
    return shared_by_zero3(situation.facts.launch, situation.request.trainer)


def shared_by_zero3(launch: Launch | Unknown, trainer: Mapping[str, Any] | None) -> bool:
    """The same, of the launch and the trainer's settings."""
    config = (trainer or {}).get("deepspeed")
    if isinstance(config, Mapping) and config.get("zero3_init_flag") is False:  # accelerate's: shard after the load
        return False
    if not isinstance(launch, Unknown) and launch.deepspeed_zero == 3:
        return True
    zero = config.get("zero_optimization") if isinstance(config, Mapping) else None
    return isinstance(zero, Mapping) and zero.get("stage") == 3


def is_device(name: str) -> bool:
    """Would torch.device take this string?"""
    kind, colon, ordinal = name.partition(":")
    return kind in DEVICE_TYPES and (not colon or (ordinal.isascii() and ordinal.isdecimal()))


# ── dtype ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

# Names that are attributes of torch and dtypes.
DTYPE_NAMES = {
    "float16": "float16", "half": "float16", "bfloat16": "bfloat16", "float32": "float32", "float": "float32", "float64": "float64", "double": "float64",
}  # fmt: skip
_EVERY_NAME = (*DTYPE_NAMES, *NARROW_FLOATS, *NOT_FLOATING)
DTYPE_SLIPS = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}  # names of none, and what is meant by them
_BAD_DTYPE: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.32", "4.42", ("ValueError", '`torch_dtype` can be either `torch.dtype` or `"auto"`, but received {}'), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3554"),
    Row("4.42", "4.49", ("ValueError", '`torch_dtype` can be one of: `torch.dtype`, `"auto"` or a string of a valid `torch.dtype`, but received {}'), Evidence.SOURCE, "transformers 4.45.2 modeling_utils.py:3842"),
    Row("4.49", "5.0", ("AttributeError", "'str' object has no attribute 'is_floating_point'"), Evidence.RUN, "transformers 4.57.1 modeling_utils.py:1219"),
    Row("5.0", None, ("ValueError", "`dtype` provided as a `str` can only be `'auto'`, or a string representation of a valid `torch.dtype`"), Evidence.RUN, "transformers 5.0.0 modeling_utils.py:820, 5.23.0:854"),
)  # fmt: skip
_NOT_FLOATING: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.28", "5.0", "Can't instantiate {model} model under dtype=torch.{dtype} since it is not a floating point dtype", Evidence.RUN, "transformers 4.37.2, 4.45.2, 4.57.1 modeling_utils.py _set_default_torch_dtype"),
    Row("5.0", None, "{model} cannot be instantiated under `dtype=torch.{dtype}` as it's not a floating-point dtype", Evidence.RUN, "transformers 5.23.0 modeling_utils.py local_torch_dtype"),
)  # fmt: skip
TAKES_DTYPE_STRINGS = (4, 42)  # before: only torch.dtype and "auto"
RENAMES_TORCH_DTYPE = (4, 56)  # dtype= from here on; torch_dtype= still taken


def asked_dtype(situation: Situation) -> Any:
    """The dtype that is passed, under the name that this release reads; None where it is not."""
    kwargs = situation.request.kwargs
    if situation.packages.at_least("transformers", *RENAMES_TORCH_DTYPE) and kwargs.get("dtype") is not None:
        return kwargs["dtype"]
    return kwargs.get("torch_dtype")


def dtype_in_config(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: an Auto class of 5.x writes the dtype into the configuration as it makes that (configuration_utils.py), before anything else is looked at.

    Recorded with 5.17.0, run with 5.23.0; the classes themselves ask later (``dtype``).
    """
    release, asked = attempt(lambda: situation.packages.release("transformers")), attempt(lambda: asked_dtype(situation))
    if isinstance(release, Unknown) or release is None or release < (5,) or not isinstance(asked, str):
        return
    makes_config = (situation.request.loader or "Auto").startswith("Auto") and situation.request.kwargs.get("config") is None
    if makes_config and asked != "auto" and asked not in _EVERY_NAME:
        text, why = f"module 'torch' has no attribute '{asked}'", f"{show(asked)} is not the name of a torch dtype"
        yield WillRaise("QVL902", Stage.CONFIG, "AttributeError", text, "dtype", why, evidence=Evidence.RECORDED)


def dtype(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """DTYPE: sets ``draft.dtype``; raises for a spelling that this release does not take."""
    release = situation.packages.release("transformers") or (0,)
    asked, quantization = asked_dtype(situation), draft.quantization
    method = None if isinstance(quantization, Unknown) or quantization is None else quantization.method
    if method == "gptq" and release < (4, 33):
        draft.dtype = "float16"  # 4.32 overrides whatever is passed (modeling_utils.py:2504)
        return
    if isinstance(asked, str) and asked != "auto" and (release < TAKES_DTYPE_STRINGS or asked not in _EVERY_NAME):
        row = _BAD_DTYPE.row(situation.packages)
        why = (
            f'this release takes a torch.dtype or "auto", not the string {show(asked)}'
            if release < TAKES_DTYPE_STRINGS
            else f"{show(asked)} is not the name of a torch dtype"
        )
        yield WillRaise("QVL902", Stage.DTYPE, row.value[0], row.value[1].format(asked), "dtype", why, evidence=row.evidence)
        return
    half = method in ("gptq", "bitsandbytes")  # both take any dtype that is asked for, and the model is built in it
    if (quantization is None or half) and (refused := _no_default_dtype(situation, asked)) is not None:
        yield refused
        return
    draft.dtype = _resulting_dtype(situation, asked, half, release)


def _no_default_dtype(situation: Situation, asked: Any) -> WillRaise | None:
    """A dtype in which torch builds no model: each release makes it the default one first (torch 2.13, 2.14 set_default_dtype)."""
    name = asked.name if isinstance(asked, Dtype) else asked
    if isinstance(name, str) and name in NARROW_FLOATS:
        why = f"no model is built in {name}: torch takes it for no default dtype; weights of that kind are a quantisation"
        text = f"couldn't find storage object {NARROW_FLOATS[name]}Storage"
        return WillRaise("QVL902", Stage.DTYPE, "TypeError", text, "dtype", why, evidence=Evidence.RUN)
    if isinstance(name, str) and name in NOT_FLOATING:
        row = _NOT_FLOATING.row(situation.packages)
        text = row.value.format(model=class_made(situation), dtype=name)
        why = f"{name} is no floating-point dtype, and a model is built in one; fewer bits than 16 take a quantization_config"
        return WillRaise("QVL902", Stage.DTYPE, "ValueError", text, "dtype", why, evidence=row.evidence)
    return None


def _resulting_dtype(situation: Situation, asked: Any, half: bool, release: tuple[int, ...]) -> str | Unknown:
    """``half``: 4.x quantizes with this method in float16 where nothing is asked (quantizer_gptq.py, quantizer_bnb_4bit.py update_dtype)."""
    stored = situation.checkpoint.dtype or Unknown("config.json names no dtype")
    if isinstance(asked, Dtype):
        return asked.name
    if isinstance(asked, str) and asked != "auto":
        return DTYPE_NAMES.get(asked, asked)
    if asked == "auto" or (asked is None and release >= (5,)):
        return stored
    if asked is None:
        return "float16" if half else "float32"
    return Unknown("the dtype is given per part of the model")


def resolve_device(situation: Situation, value: Any) -> str:
    """The name under which torch shows a device of a device_map: an ordinal, "cuda", a torch.device. Raises Undecided."""
    name = device_name(value)
    if name is None:
        raise Undecided(f"device_map holds {show(value) if value is not MISSING else value}, which is not a device")
    return name if name != "cuda" else f"cuda:{_bare_cuda(situation, value)}"


def _bare_cuda(situation: Situation, value: Any) -> int:
    """Bare "cuda": the current device; as the whole device_map in transformers 5 the one of LOCAL_RANK, the variable."""
    env, torch = situation.facts.env, situation.facts.torch
    whole = value is situation.request.device_map and isinstance(value, str) and not isinstance(value, TorchDevice)
    local = "" if isinstance(env, Unknown) else env.get("LOCAL_RANK", "")
    if whole and situation.packages.at_least("transformers", 5) and local.isdecimal():
        return int(local)
    current = torch.current_device if not isinstance(torch, Unknown) else torch
    return current if isinstance(current, int) and current >= 0 else 0
