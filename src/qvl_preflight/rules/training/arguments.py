"""QVL820 to 824: arguments of the Trainer, and their values, that a release does not take."""

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


@rule(
    "QVL822",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(r"is not a valid (OptimizerNames|SchedulerType|IntervalStrategy|SaveStrategy), please select one of",),
)
def unknown_training_choice(plan: LoadPlan) -> Iterator[Finding]:
    """
    The name of an optimizer, a schedule or a strategy that this transformers does not know.

    ## What happens
    `optim`, `lr_scheduler_type`, `save_strategy`, `logging_strategy` and `eval_strategy` are looked up in the release's own lists, by their exact names: "adamw",
    "AdamW" and "adamw_8bits" are in none, "adamw_hf" went with 4.50, "adamw_apex_fused" with 5.10. TrainingArguments raise
    `ValueError: … is not a valid OptimizerNames, please select one of […]`.

    ## Example
    ```python purpose=lora trainer={"optim":"adamw_8bits"}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python purpose=lora trainer={"optim":"adamw_torch_fused"}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: the arguments are in your script.
    """
    yield from as_planned(plan, "QVL822", Fix.display("Write one of the names that this release knows"))


@rule(
    "QVL823",
    Severity.ERROR,
    topic="version-skew",
    symptoms=(
        r"in order to use (GaLore|APOLLO|LOMO|schedulefree|stable_adamw|bitsandbytes) optimizers",
        r"Trainer tried to instantiate (bnb optimizer|apex FusedAdam)",
        r"Please install grokadamw with",
        r"Please install https://github\.com/pytorch/torchdistx",
    ),
)
def optimizer_package_missing(plan: LoadPlan) -> Iterator[Finding]:
    """
    The package that the optimizer is taken from is not installed.

    ## What happens
    The 8-bit and paged optimizers are those of bitsandbytes; GaLore, APOLLO, LOMO, GrokAdamW, schedule-free and stable AdamW are packages of their own. The
    Trainer imports them when training begins, after the model was loaded and the data prepared: an ImportError, or a ValueError in older releases.

    ## Example
    ```python purpose=lora trainer={"optim":"galore_adamw"}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python purpose=lora trainer={"optim":"adamw_torch"}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: what is installed is yours to decide, and another optimizer trains otherwise.
    """
    yield from as_planned(plan, "QVL823", _install)


def _install(raised: WillRaise) -> Fix:
    package = raised.why.partition(" is taken from ")[2].partition(",")[0]
    sources = {
        "galore-torch": "git+https://github.com/jiaweizzhao/GaLore",
        "apollo-torch": "git+https://github.com/zhuhanqing/APOLLO",
    }
    if package in ("apex", "torchdistx"):
        return Fix.display(f'{package} is built from its source: choose optim="adamw_torch_fused", which does the same')
    return Fix.display(f"Install {package}, or choose another optimizer", f"pip install {sources.get(package, package)}")


@rule(
    "QVL824",
    Severity.ERROR,
    topic="version-skew",
)
def training_number_is_none(plan: LoadPlan) -> Iterator[Finding]:
    """
    Text in place of a number, or a count of 0, among the Trainer's arguments.

    ## What happens
    TrainingArguments take what they are given. `learning_rate="1e-4"` stops in the optimizer with a TypeError about `<=` between float and str, a batch size of
    text or 0 in the data loader, `gradient_accumulation_steps=0` with a division by zero: all of them after the model was loaded. In YAML `1e-4` is text for
    Python's usual reader, `1.0e-4` a number.

    ## Example
    ```python purpose=lora trainer={"learning_rate":"1e-4"}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```
    Use instead:
    ```python purpose=lora trainer={"learning_rate":0.0001}
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: the arguments are in your script.
    """
    yield from as_planned(plan, "QVL824", Fix.display("Write it as a number, above 0 where it counts something"))


def _rename(raised: WillRaise) -> Fix | None:
    name = raised.text.rpartition(" ")[2].strip("'")
    if name not in INSTEAD:
        return Fix.display(f"Leave {name} out, or use a release that takes it")
    other = INSTEAD[name]
    return Fix.display(f"Leave {name} out: it does nothing here" if other is None else f"Say {other} instead of {name}")
