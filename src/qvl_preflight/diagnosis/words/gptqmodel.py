"""What gptqmodel says, beside what the plan knows, and the rule or entry whose cause it is."""

from qvl_preflight.symptoms import Symptom

WORDS = (
    ("QVL306", Symptom(r"only supports `?\[.{0,200}actual device = `?cpu", weight=.95, source="gptqmodel, with the device filled in")),
    ("QVL398", Symptom(r"(Exllama EoRA|Exllama v1) backend but could not import", source="gptqmodel 5.8.0 nn_modules/qlinear/exllama_eora.py:105")),
    ("QVL398", Symptom(r"kernels are not properly installed", source="gptqmodel 7.7.0 nn_modules/qlinear/marlin_awq.py:265")),
    ("QVL305", Symptom(r"(Marlin|Machete) kernel (only supports|requires) compute capability", source="gptqmodel 7.7.0 nn_modules/qlinear/qqq.py:286")),
    ("QVL305", Symptom(r"Marlin kernel is not supported on ROCm", source="gptqmodel 7.7.0 nn_modules/qlinear/marlin_awq.py:241")),
    ("QVL305", Symptom(r"only supports .{1,80}: actual device =", weight=.7, source="gptqmodel 7.7.0 nn_modules/qlinear/__init__.py:548")),
    ("QVL305", Symptom(r"BitBLAS only supports torch\.float16", source="gptqmodel 7.7.0 nn_modules/qlinear/bitblas.py:359")),
    ("QVL305", Symptom(r"Unsupported (quantization method: `|format: .{1,40} for quantization method)", source="gptqmodel 7.7.0 utils/importer.py:886")),
    ("QVL305", Symptom(r"triton version must be >= 2\.0\.0", weight=.8, source="gptqmodel 7.7.0 nn_modules/qlinear/paroquant_triton.py:67")),
    ("QVL305", Symptom(r"GIL is disabled and not compatible with current Triton", weight=.8, source="gptqmodel 7.7.0 nn_modules/qlinear/paroquant_triton.py:70")),
    ("QVL305", Symptom(r"Unsupported quantization config: bits=", weight=.8, source="gptqmodel 7.7.0 nn_modules/qlinear/machete.py:85")),
    ("QVL304", Symptom(r"QuantizeConfig: ?`?(bits|group_size|damp_percent|damp_auto_increment|quant_method|pack_dtype)`? must", source="gptqmodel 7.7.0 quantization/config.py:3713")),
    ("QVL304", Symptom(r"QuantizeConfig: ?Unsupported", source="gptqmodel 7.7.0 quantization/config.py:2893")),
    ("QVL304", Symptom(r"QuantizeConfig: ?Unknown (quantization|smooth)", source="gptqmodel 7.7.0 quantization/config.py:3915")),
    ("QVL303", Symptom(r"Conflicting quantization format passed in manually", source="gptqmodel 7.7.0 quantization/config.py:3917")),
    ("QVL304", Symptom(r"`act_group_aware` == `True` requires", source="gptqmodel 7.7.0 quantization/config.py:4337")),
    ("QVL801", Symptom(r"does not support training mode", source="gptqmodel 7.7.0 nn_modules/qlinear/torch_int8.py:292")),
    ("QVL492", Symptom(r"Cannot move a module that still contains meta tensors", source="gptqmodel 7.7.0 utils/model.py:255")),
    ("QVL291", Symptom(r"(requires CUDA availability but none was detected|CUDA is not available for CudaEvent)", weight=.8, source="gptqmodel 7.7.0 nn_modules/qlinear/__init__.py:1440")),
    ("QVL306", Symptom(r"CUDA is not available\.$", weight=.85, source="gptqmodel 7.7.0 utils/cpp.py:1604")),
    ("QVL301", Symptom(r"IPEX is not installed\. Please install it via", weight=.8, source="gptqmodel 4.2.5 utils/importer.py:242")),
    ("QVL301", Symptom(r"MLX not installed\. Please install", weight=.8, source="gptqmodel 7.7.0 utils/mlx.py:488")),
    ("QVL307", Symptom(r"No (generated )?(marlin|machete) kernel(s| templates) (were generated|detected)", source="gptqmodel's build")),
    ("QVL307", Symptom(r"Trying to compile GPTQModel for CUDA/ROCm, but no cuda or rocm version was detected", weight=.8, source="gptqmodel's build")),
    ("QVL307", Symptom(r"TORCH_VERSION not passed for wheel generation|Unable to detect torch version via", weight=.7, source="gptqmodel's build")),
    ("QVL490", Symptom(r"Offloaded (tensor|buffer) .{1,200} not found in offload directory", weight=.7, source="gptqmodel 7.7.0 utils/model.py:2097")),
)  # fmt: skip
