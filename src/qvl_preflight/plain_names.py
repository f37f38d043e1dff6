"""Names that stand in text for objects, ``torch.float16`` and ``GPTQConfig(…)``: one that nothing has is a slip, and Python would say so."""

from __future__ import annotations

from difflib import get_close_matches

from qvl_preflight.exceptions import InputError
from qvl_preflight.spelling import distance

# Attributes of torch that are dtypes (2.13.0, 2.14.1), and the dtypes of those that are other names of one.
_OTHER_NAMES = {
    "half": "float16", "float": "float32", "double": "float64", "chalf": "complex32", "cfloat": "complex64", "cdouble": "complex128", "short": "int16", "int": "int32",
    "long": "int64",
}  # fmt: skip
FLOATING = ("float16", "bfloat16", "float32", "float64")
# Floating, and none that torch takes as its default dtype.
NARROW_FLOATS = {
    "float8_e4m3fn": "Float8_e4m3fn", "float8_e4m3fnuz": "Float8_e4m3fnuz", "float8_e5m2": "Float8_e5m2", "float8_e5m2fnuz": "Float8_e5m2fnuz",
    "float8_e8m0fnu": "Float8_e8m0fnu", "float4_e2m1fn_x2": "Float4_e2m1fn_x2",
}  # fmt: skip
NOT_FLOATING = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
    "complex32", "complex64", "complex128", "bcomplex32", "quint8", "qint8", "qint32", "quint4x2", "quint2x4", "bit", "bits8", "bits16", "bits1x8", "bits2x4", "bits4x2",
)  # fmt: skip
_DTYPES = (*FLOATING, *NARROW_FLOATS, *NOT_FLOATING)

# The classes of transformers 4.37.2 to 5.23.0 utils/quantization_config.py.
QUANTIZATION_CONFIGS = (
    "AqlmConfig", "AutoRoundConfig", "AwqConfig", "BitNetConfig", "BitNetQuantConfig", "BitsAndBytesConfig", "CompressedTensorsConfig", "EetqConfig", "FPQuantConfig",
    "FbgemmFp8Config", "FineGrainedFP8Config", "FourOverSixConfig", "GPTQConfig", "GemmaQuantizationConfig", "GgufConfig", "HiggsConfig", "HqqConfig", "MetalConfig",
    "Mxfp4Config", "NVFP4Config", "QuantoConfig", "QuarkConfig", "SinqConfig", "SpQRConfig", "TorchAoConfig", "VptqConfig",
)  # fmt: skip


def torch_dtype(name: str) -> str:
    """The dtype that ``torch.NAME`` is. Raises InputError for a name that torch does not have."""
    name = _OTHER_NAMES.get(name.removeprefix("torch."), name.removeprefix("torch."))
    if name in _DTYPES:
        return name
    slips = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64"}
    near = [slips[name]] if name in slips else get_close_matches(name, _DTYPES, 2, 0.75)
    near = [each for each in near if each in FLOATING] or near
    meant = " or ".join(f"torch.{each}" for each in near or FLOATING[:3])
    raise InputError(f"torch.{name}: torch has no dtype of that name; {'perhaps' if near else 'expected'} {meant}")


def quantization_config(name: str) -> None:
    """Refuses what is no configuration of a quantisation: a slip, or no class of that kind. Raises InputError."""
    if name in QUANTIZATION_CONFIGS:
        return
    near = sorted(QUANTIZATION_CONFIGS, key=lambda known: distance(known.lower(), name.lower()))[0]
    if distance(near.lower(), name.lower()) <= 2:
        raise InputError(f"quantization_config={name}(…): transformers has no class of that name; perhaps {near}")
    if not name.endswith("Config"):  # a later release, or the program itself, can have others
        usual = "BitsAndBytesConfig, GPTQConfig, AwqConfig, HqqConfig, TorchAoConfig, FineGrainedFP8Config"
        raise InputError(
            f"quantization_config={name}(…): no configuration of a quantisation; expected {usual} or another one of transformers"
        )
