"""What autoawq says, beside what the plan knows, and the rule or entry whose cause it is."""

from qvl_preflight.symptoms import Symptom

WORDS = (
    ("QVL398", Symptom(r"(AWQ|IPEX) kernels could not be loaded", source="autoawq 0.2.9 modules/fused/norm.py:29")),
    ("QVL398", Symptom(r"either triton or autoawq-kernels is needed to be installed", source="autoawq 0.2.9 modules/linear/gemm.py:93")),
    ("QVL398", Symptom(r"External (AWQ|AWQ V2|ExLlama|ExLlamaV2|Marlin|GEMV\w*) kernels are not properly installed", source="autoawq 0.2.9 modules/linear/gemv.py:159")),
    ("QVL305", Symptom(r"Only 4-bit are supported for", weight=.7, source="autoawq 0.2.9 modules/linear/gemm.py:245")),
    ("QVL698", Symptom(r"AutoAWQ is officially deprecated", weight=.9, source="autoawq 0.2.9 __init__.py:5")),
)  # fmt: skip
