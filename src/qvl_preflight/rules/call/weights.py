"""The weights: files that are missing or cut off, and shapes that the configuration does not give them."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.facts import Packages
from qvl_preflight.plan import LoadPlan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Finding, Fix, Severity
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


@rule("QVL917", Severity.ERROR, topic="offline-missing-file")
def config_value_refused(plan: LoadPlan) -> Iterator[Finding]:
    """
    A value of config.json, or of the call, with which the model cannot be built.

    ## What happens
    Arguments of from_pretrained that name a field of the configuration take its place. 0 heads end in a ZeroDivisionError, a kind of RoPE that there is not in a
    `KeyError` with its name (a ValueError about `rope_scaling` in 4.37), a size that is text in a TypeError; none of them names config.json.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("meta-llama/Llama-2-7b-hf", device_map={"": 0}, num_attention_heads=0)
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("meta-llama/Llama-2-7b-hf", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: what the value should be stands in the model's own config.json.
    """
    yield from as_planned(plan, "QVL917", Fix.display("Take the value of the model's own config.json, or leave it out of the call"))


@rule(
    "QVL918", Severity.ERROR, topic="offline-missing-file", symptoms=(r"`state_dict` cannot be passed together with a model name",)
)
def weights_argument_refused(plan: LoadPlan) -> Iterator[Finding]:
    """
    An argument that names weights of another kind, which are not there or cannot be read.

    ## What happens
    `gguf_file` must be a file of the folder. A `state_dict` beside the name of a model is refused since transformers 4.50. `from_tf` and `from_flax` need
    TensorFlow and JAX up to 4.57; 5.x takes both names and does nothing with them.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0}, state_dict={})
    ```
    Use instead:
    ```python
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map={"": 0})
    ```

    ## Fix safety
    Shown, not applied: which weights are meant is yours to say.
    """
    yield from as_planned(plan, "QVL918", Fix.display("Leave the argument out, or name weights that are there and can be read"))
