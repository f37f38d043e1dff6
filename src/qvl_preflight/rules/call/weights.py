"""The weights: files that are missing or cut off, and shapes that the configuration does not give them."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.facts import Packages
from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Finding, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.rules.files.fetching import fetch_again


@rule(
    "QVL901",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(
        r"SafetensorError.*(InvalidHeader|MetadataIncompleteBuffer|incomplete metadata)",
        r"failed finding central directory",
    ),
)
def incomplete_checkpoint(plan: LoadPlan, checkpoint: Checkpoint, packages: Packages) -> Iterator[Finding]:
    """
    Weights of the checkpoint are missing, cut off, or cannot be found.

    ## What happens
    The index names files that are not in the folder, or a file is shorter than its header says. The load stops at that shard, after those
    before it were read. Shards whose index is not there are not looked at, nor is a link whose file stayed where it was copied from: OSError,
    "Error no file named model.safetensors …".

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("broken/missing-shard")
    ```
    Use instead, once the download is complete:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct")
    ```

    ## Fix safety
    Shown, not applied: download the files again.
    """
    yield from as_planned(plan, "QVL901", fetch_again(packages, checkpoint))


@rule(
    "QVL916",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(r"size mismatch for \S*embed_tokens", r"thus raising an error\. For details look at the above report"),
)
def other_shapes(plan: LoadPlan, request: Request, remedies: Remedies) -> Iterator[Finding]:
    """
    The weights have other shapes than the configuration gives them.

    ## What happens
    The model is built by vocab_size and hidden_size of config.json, or of the call, and its embeddings in the file have another shape:
    RuntimeError, "size mismatch for model.embed_tokens.weight"; transformers 5 prints a table and names `ignore_mismatched_sizes`. With that
    set, those weights start at random.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("meta-llama/Llama-2-7b-hf", device_map={"": 0}, vocab_size=32064)
    ```
    Use instead, and resize_token_embeddings(32064) afterwards:
    ```python
    AutoModelForCausalLM.from_pretrained("meta-llama/Llama-2-7b-hf", device_map={"": 0})
    ```

    ## Fix safety
    Unsafe: the vocabulary is then that of the checkpoint until it is resized.
    """
    fix = None
    if "vocab_size" in request.kwargs:
        title = "Drop vocab_size; call resize_token_embeddings once the model is there"
        fix = remedies.without("vocab_size", title, Applicability.UNSAFE)
    yield from as_planned(plan, "QVL916", fix)
