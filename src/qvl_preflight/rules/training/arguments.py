"""QVL8xx, continued: arguments of the Trainer that came or went with a release."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.plan import LoadPlan, WillRaise
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.training_arguments import INSTEAD


@rule(
    "QVL820",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(r"(TrainingArguments|SFTConfig|Seq2SeqTrainingArguments)\.__init__\(\) got an unexpected keyword argument",),
)
def foreign_training_argument(plan: LoadPlan) -> Iterator[Finding]:
    """
    An argument that TrainingArguments of this transformers does not take.

    ## What happens
    Names come and go: `evaluation_strategy` became `eval_strategy` in 4.41 and was taken away in 4.51; 5.0 took away `overwrite_output_dir`,
    `no_cuda`, `save_safetensors`, `per_gpu_train_batch_size` and 20 others, 5.2 `group_by_length`, 5.17 `warmup_ratio` and `logging_dir`. The script
    stops with `TypeError: TrainingArguments.__init__() got an unexpected keyword argument`, mostly after the model was loaded.

    ## Example
    ```python purpose=lora trainer={"evaluation_strategy":"steps"}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python purpose=lora trainer={"eval_strategy":"steps"}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: the arguments are in your script.
    """
    yield from as_planned(plan, "QVL820", _rename)


def _rename(raised: WillRaise) -> Fix | None:
    name = raised.text.rpartition(" ")[2].strip("'")
    if name not in INSTEAD:
        return Fix.display(f"Leave {name} out, or use a release that takes it")
    other = INSTEAD[name]
    return Fix.display(f"Leave {name} out: it does nothing here" if other is None else f"Say {other} instead of {name}")
