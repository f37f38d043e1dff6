"""Weight files of another kind than the call asks for, and files that are no weights."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.facts import Packages
from qvl_preflight.missing import MISSING
from qvl_preflight.plan import LoadPlan, WillRaise
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Edit, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.rules.files.fetching import fetch_again
from qvl_preflight.stack.weight_choice import other_kind
from qvl_preflight.unknown import Unknown


@rule(
    "QVL953", Severity.ERROR, topic="torch-load-cve", symptoms=(r"serious vulnerability issue in `torch\.load`", r"CVE-2025-32434")
)
def unpickling_refused(plan: LoadPlan) -> Iterator[Finding]:
    """
    The weights are .bin files, which this transformers does not unpickle with a torch before 2.6.

    ## What happens
    Since 4.52 transformers raises a ValueError for CVE-2025-32434 rather than call torch.load. Files in the safetensors format are not
    concerned. Up to 4.57 `weights_only=False` goes around the check, and unpickles whatever the file says.

    ## Example
    ```python stack=today-old-torch
    AutoModelForCausalLM.from_pretrained("weights/bin-alone", device_map={"": 0})
    ```
    Use instead a newer torch, or files in the safetensors format:
    ```python stack=today
    AutoModelForCausalLM.from_pretrained("weights/bin-alone", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: it changes the environment, or the checkpoint.
    """
    fix = Fix.display("Install torch 2.6 or later, or convert the weights to safetensors", "pip install --upgrade 'torch>=2.6'")
    yield from as_planned(plan, "QVL953", fix)


@rule("QVL954", Severity.ERROR, topic="offline-missing-file", symptoms=(r"thus cannot be loaded with `safetensors`",))
def no_safetensors_files(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    use_safetensors=True, and there are only .bin files.

    ## What happens
    OSError: "Error no file named model.safetensors found in directory …". Before 4.43 a folder of .bin files was loaded all the same.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("weights/bin-alone", device_map={"": 0}, use_safetensors=True)
    ```
    Use instead, for a checkpoint that you trust:
    ```python
    AutoModelForCausalLM.from_pretrained("weights/bin-alone", device_map={"": 0})
    ```

    ## Fix safety
    Unsafe: .bin files are unpickled; whoever asked for safetensors may have meant to rule that out. The weights are the same.
    """
    yield from as_planned(
        plan, "QVL954", remedies.without("use_safetensors", "Load the .bin files: drop use_safetensors=True", Applicability.UNSAFE)
    )


@rule(
    "QVL955",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(r"Error no file named pytorch_model\.bin found in directory(?!.{0,300}but there is a file)",),
)
def no_bin_files(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    use_safetensors=False, and there are only safetensors files.

    ## What happens
    Only .bin files are looked for: OSError, "Error no file named pytorch_model.bin …".

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, use_safetensors=False)
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Safe: the same weights, out of the files that are there.
    """
    yield from as_planned(
        plan, "QVL955", remedies.without("use_safetensors", "Load the safetensors files: drop use_safetensors=False")
    )


@rule(
    "QVL956",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(r"there is a file without the variant", r"no file named model\.\w+\.safetensors"),
)
def no_such_variant(plan: LoadPlan, checkpoint: Checkpoint, request: Request) -> Iterator[Finding]:
    """
    The weights that are there have another variant in their names than the call asks for.

    ## What happens
    `variant="fp16"` looks for model.fp16.safetensors and pytorch_model.fp16.bin and takes no others; without it those are not looked at.
    OSError: "Error no file named model.fp16.safetensors …".

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, variant="fp16")
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Unsafe: other files can hold other numbers. What they are loaded as is for dtype to say.
    """

    kind = other_kind(checkpoint)
    variant = kind.variant if kind else None
    title = f"Load the variant {variant}" if variant else "Load the weights that have no variant in their names"
    edit = Edit("variant", request.get("variant"), variant or MISSING)
    yield from as_planned(plan, "QVL956", Fix(title, Applicability.UNSAFE, (edit,)))


@rule(
    "QVL957",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(r"cloned a repository without having git-lfs installed", r"[Hh]eader ?[Tt]oo ?([Ll]arge|[Ss]mall)"),
)
def no_weights_in_the_file(plan: LoadPlan, checkpoint: Checkpoint, packages: Packages) -> Iterator[Finding]:
    """
    A file that is named like weights holds something else: a git-lfs pointer, a web page, nothing.

    ## What happens
    `git clone` without git-lfs leaves 130 bytes of text in place of each large file; a proxy or an expired login saves a page. The load stops
    at that file: SafetensorError, "header too large", or for .bin files an error of unpickling.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("broken/git-lfs-pointer", device_map={"": 0})
    ```
    Use instead, once the files are there:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: fetch the files.
    """

    files = checkpoint.files
    pointers = not isinstance(files, Unknown) and any(found.is_pointer for found in files.stand_ins.values())
    pull = f"cd {checkpoint.path} && git lfs install && git lfs pull"
    fix = Fix.display("Fetch the files that the pointers stand for", pull) if pointers else fetch_again(packages, checkpoint)
    yield from as_planned(plan, "QVL957", fix)


@rule("QVL958", Severity.ERROR, topic="offline-missing-file", symptoms=(r"there is a file for (TensorFlow|Flax) weights",))
def weights_of_another_framework(plan: LoadPlan) -> Iterator[Finding]:
    """
    The folder holds weights for TensorFlow or Flax alone.

    ## What happens
    OSError. Up to transformers 4.57 `from_tf=True` and `from_flax=True` convert them while they load, with that framework installed;
    transformers 5 reads PyTorch's and safetensors files alone.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("weights/tensorflow-alone", device_map={"": 0})
    ```
    Use instead, once they are converted:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: a conversion needs the other framework.
    """
    yield from as_planned(
        plan,
        "QVL958",
        Fix.display(
            "Convert the weights with transformers 4 and that framework installed, then save them: from_tf=True, save_pretrained"
        ),
    )


@rule("QVL961", Severity.ERROR, topic="dep-skew-import")
def adapter_without_peft(plan: LoadPlan) -> Iterator[Finding]:
    """
    The folder holds an adapter, and peft is not installed.

    ## What happens
    With peft transformers reads adapter_config.json, loads the base model that it names and puts the adapter on it. Without peft it looks
    for a model in the folder: ValueError, "Unrecognized model …", or OSError, "… does not appear to have a file named config.json".

    ## Example
    ```python stack=today-without-peft
    AutoModelForCausalLM.from_pretrained("weights/adapter", device_map={"": 0})
    ```
    Use instead, with peft installed:
    ```python
    AutoModelForCausalLM.from_pretrained("weights/adapter", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: it changes the environment.
    """
    yield from as_planned(plan, "QVL961", _loads_adapters)


def _loads_adapters(raised: WillRaise) -> Fix:
    if "knows no adapters" in raised.why:
        return Fix.display("Install a transformers that loads adapters", "pip install 'transformers>=4.33' peft")
    return Fix.display("Install peft", "pip install peft")
