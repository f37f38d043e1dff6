"""What huggingface_hub says, beside what the plan knows, and the rule or entry whose cause it is."""

from qvl_preflight.symptoms import Symptom

WORDS = (
    ("QVL950", Symptom(r"Cannot reach \S+: offline mode is enabled", source="huggingface_hub 1.5.0 utils/_http.py:183")),
    ("QVL950", Symptom(r"outgoing traffic has been disabled", source="huggingface_hub 1.5.0 file_download.py:1753")),
    ("QVL950", Symptom(r"cannot find the (requested files|appropriate snapshot folder)", source="huggingface_hub 1.5.0 file_download.py:1753")),
    ("QVL950", Symptom(r"OfflineModeIsEnabled", source="huggingface_hub 1.5.0 utils/_http.py:183")),
)  # fmt: skip
