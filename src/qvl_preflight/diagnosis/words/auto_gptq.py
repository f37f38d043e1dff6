"""What auto-gptq says, beside what the plan knows, and the rule or entry whose cause it is."""

from qvl_preflight.symptoms import Symptom

WORDS = (
    ("QVL398", Symptom(r"(Exllama|Exllamav2) kernel is not installed, reset disable_exllama", source="auto-gptq 0.7.1 modeling/_base.py:866")),
    ("QVL398", Symptom(r"CUDA kernels for auto_gptq are not installed", source="auto-gptq 0.7.1 modeling/_base.py:884")),
    ("QVL398", Symptom(r"Could not import exllama backend dependencies", source="auto-gptq 0.7.1 modeling/_utils.py:399")),
    ("QVL398", Symptom(r"Trying to use the (marlin|exllama|exllama v2|triton|qqq|machete|Exllama EoRA|Exllama v1) backend,? but could not import", source="auto-gptq 0.7.1 nn_modules/qlinear/qlinear_marlin.py:29")),
    ("QVL398", Symptom(r"(cQIGen|QIGen) (is |appears to be )?not (installed|available)", source="auto-gptq 0.7.1 modeling/_base.py:860")),
    ("QVL104", Symptom(r"Load pretrained model to do quantization requires CUDA available", source="auto-gptq 0.7.1 modeling/_base.py:716")),
    ("QVL318", Symptom(r"disk offload not support yet", type="NotImplementedError", source="auto-gptq 0.7.1 modeling/_base.py:759")),
    ("QVL801", Symptom(r"(Exllama|Exllamav2|Qigen|Marlin) (kernel )?does not support train", source="auto-gptq 0.7.1 nn_modules/qlinear/qlinear_marlin.py:106")),
    ("QVL801", Symptom(r"trainable mode only supports triton backend", source="auto-gptq 0.7.1 modeling/_base.py:1391")),
    ("QVL801", Symptom(r"backend not does support the trainable mode yet", source="auto-gptq 0.7.1 modeling/_base.py:962")),
    ("QVL801", Symptom(r"fused mlp injection is not supported to integrate with peft", source="auto-gptq 0.7.1 utils/peft_utils.py:369")),
    ("QVL819", Symptom(r"gptq model not support (un)?merge", source="auto-gptq 0.7.1 utils/peft_utils.py:213")),
    ("QVL305", Symptom(r"Can not use Marlin int4\*fp16 kernel with", source="auto-gptq 0.7.1 nn_modules/qlinear/qlinear_marlin.py:93")),
    ("QVL305", Symptom(r"can not be converted to use the Marlin kernel", source="auto-gptq 0.7.1 modeling/_base.py:1209")),
    ("QVL305", Symptom(r"Marlin kernel (requires torch_dtype|is compatible only with checkpoints)", source="auto-gptq 0.7.1 modeling/_base.py:1206")),
    ("QVL305", Symptom(r"(Exllama|Exllamav2) kernel supports only bits=4", source="auto-gptq 0.7.1 nn_modules/qlinear/qlinear_exllama.py:55")),
    ("QVL305", Symptom(r"in_?features` must be divisible by", weight=.8, source="auto-gptq 0.7.1 nn_modules/qlinear/qlinear_marlin.py:98")),
    ("QVL305", Symptom(r"Only group_size -1 and 128 are supported", weight=.8, source="auto-gptq 0.7.1 nn_modules/qlinear/qlinear_marlin.py:102")),
    ("QVL305", Symptom(r"Only 2,(3,)?4(,8)? bits are supported", weight=.6, source="auto-gptq 0.7.1 nn_modules/qlinear/qlinear_qigen.py:171")),
    ("QVL305", Symptom(r"loading with use_marlin=False", source="auto-gptq 0.7.1 modeling/_base.py:927")),
    ("QVL304", Symptom(r"only support quantize to .{1,20} bits", source="auto-gptq 0.7.1 modeling/_base.py:98")),
    ("QVL304", Symptom(r"group_size must greater then 0", source="auto-gptq 0.7.1 modeling/_base.py:100")),
    ("QVL303", Symptom(r"can't execute quantize because the model is quantized", weight=.8, source="auto-gptq 0.7.1 modeling/_base.py:297")),
)  # fmt: skip
