"""What of a configuration that is passed overrides the settings of a checkpoint of the same method; all else of it is ignored.

Source: transformers utils/quantization_config.py get_loading_attributes, quantizers/auto.py merge_quantization_configs. Run: GPTQ and AWQ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation
    from qvl_preflight.request import ConfigObject

GPTQ: ByRelease[tuple[str, ...]] = ByRelease(
    "transformers",
    Row("4.32", "4.33", ("disable_exllama", "use_cuda_fp16"), Evidence.RECORDED, "transformers 4.32.0 utils/quantization_config.py"),
    Row("4.33", "4.35", ("disable_exllama", "use_cuda_fp16", "max_input_length"), Evidence.SOURCE, "transformers 4.34.1 utils/quantization_config.py"),
    Row("4.35", "4.49", ("disable_exllama", "use_exllama", "exllama_config", "use_cuda_fp16", "max_input_length"), Evidence.RECORDED, "transformers 4.37.2 utils/quantization_config.py"),
    Row("4.49", "4.51", ("disable_exllama", "use_exllama", "exllama_config", "use_cuda_fp16", "max_input_length", "backend"), Evidence.SOURCE, "transformers 4.50.3 utils/quantization_config.py"),
    Row("4.51", "5.0", ("use_exllama", "exllama_config", "use_cuda_fp16", "max_input_length", "backend"), Evidence.RUN, "transformers 4.51.3, 4.57.1 utils/quantization_config.py"),
    Row("5.0", None, ("max_input_length", "backend"), Evidence.RECORDED, "transformers 5.23.0 utils/quantization_config.py"),
)  # fmt: skip
# Names that GPTQConfig ever took to choose a kernel; a release that does not know one swallows it in **kwargs without a word.
KERNEL_FLAGS = ("disable_exllama", "use_exllama", "exllama_config", "backend")

_FUSING = ("do_fuse", "modules_to_fuse", "fuse_max_seq_len")


def _rows(*rows: tuple[str, str | None, tuple[str, ...]], evidence: Evidence = Evidence.SOURCE) -> ByRelease[tuple[str, ...]]:
    source = "transformers, utils/quantization_config.py get_loading_attributes"
    return ByRelease("transformers", *(Row(since, until, names, evidence, source) for since, until, names in rows))


_BY_METHOD: Mapping[str, ByRelease[tuple[str, ...]]] = {
    "gptq": GPTQ,
    "awq": _rows(
        ("4.35", "4.36", ()), ("4.36", "4.39", _FUSING), ("4.39", "4.40", ("version", *_FUSING)), ("4.40", "5.0", ("version", *_FUSING, "exllama_config")),
        ("5.0", None, ("max_input_length", "backend")),
    ),
    "auto-round": _rows(("4.52", None, ("backend",))),
    "fbgemm_fp8": _rows(("4.43", None, ("activation_scale_ub",))),
    "compressed-tensors": _rows(
        ("4.45", "4.47", ()), ("4.47", "5.11", ("run_compressed",)), ("5.17", None, ("dequantize", "use_optimized_inference")),
    ),
    "fp8": _rows(("4.49", "5.0", ()), ("5.0", "5.10", ("dequantize",)), ("5.10", None, ("dequantize", "modules_to_not_convert"))),
    "mxfp4": _rows(("4.55", None, ("dequantize",))),
    "metal": _rows(("5.5", None, ("dequantize",))),
}  # fmt: skip


def merged(situation: Situation, method: str, settings: Mapping[str, Any], passed: ConfigObject) -> Mapping[str, Any]:
    """The checkpoint's settings with the loading attributes of the passed object, its defaults included, on top. Raises Undecided."""
    if method not in _BY_METHOD:
        return settings
    names = _BY_METHOD[method].value(situation.packages)
    kept = {key: value for key, value in settings.items() if key not in names}
    return kept | {name: passed.fields[name] for name in names if name in passed.fields}
