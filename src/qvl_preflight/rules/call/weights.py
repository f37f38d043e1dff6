"""The weights: shards that are missing or cut off."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.facts import Packages
from qvl_preflight.plan import LoadPlan
from qvl_preflight.report import Finding, Severity
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
