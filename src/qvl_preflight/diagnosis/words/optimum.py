"""What optimum says, beside what the plan knows, and the rule or entry whose cause it is."""

from qvl_preflight.symptoms import Symptom

WORDS = (
    ("QVL301", Symptom(r"(auto-gptq|gptqmodel|GPT-QModel)\W.{0,80}is required in order to (perform|load)", source="optimum 2.3.0 gptq/quantizer.py:753")),
    ("QVL301", Symptom(r"gptq_v2 format only supported with gptqmodel", source="optimum 2.0.0 gptq/quantizer.py:434")),
    ("QVL301", Symptom(r"Asymmetric sym=False quantization is not supported with auto-gptq", source="optimum 2.0.0 gptq/quantizer.py:429")),
    ("QVL601", Symptom(r"need to install accelerate in order to (load and dispatch|save)", source="optimum 2.3.0 gptq/quantizer.py:757")),
    ("QVL104", Symptom(r"No GPU found\. A GPU is needed to (quantize|run quantized) model", source="optimum 2.0.0 gptq/quantizer.py:876")),
    ("QVL104", Symptom(r"No cuda gpu or cpu support using Intel/IPEX found", source="optimum 2.0.0 gptq/quantizer.py:424")),
    ("QVL318", Symptom(r"disk offload is not supported with GPTQ quantization", source="optimum 2.3.0 gptq/quantizer.py:377")),
    ("QVL304", Symptom(r"only support quantize to \[2,3,4,8\] bits", source="optimum 2.3.0 gptq/quantizer.py:193")),
    ("QVL325", Symptom(r"We were not able to get the tokenizer using `AutoTokenizer", source="optimum 2.3.0 gptq/quantizer.py:408")),
    ("QVL325", Symptom(r"need to pass a `pad_token_id` in `quantize_model`", source="optimum 2.3.0 gptq/data.py:57")),
    ("QVL325", Symptom(r"Block pattern could not be match", weight=.8, source="optimum 2.3.0 gptq/utils.py:85")),
    ("QVL303", Symptom(r"Failed to load quantization config from", weight=.7, source="optimum 2.3.0 gptq/quantizer.py:778")),
    ("QVL306", Symptom(r"act_order will reorder the weights offline", weight=.7, source="optimum 2.0.0 gptq/quantizer.py:682")),
)  # fmt: skip
