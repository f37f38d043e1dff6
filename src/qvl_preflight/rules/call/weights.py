"""The weights: shards that are missing or cut off."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import rule
from qvl_preflight.unknown import need


@rule(
    "QVL901",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(r"SafetensorError.*(HeaderTooLarge|InvalidHeader|MetadataIncompleteBuffer)",),
)
def incomplete_checkpoint(checkpoint: Checkpoint) -> Iterator[Finding]:
    """
    A shard of the checkpoint is missing or cut off.

    ## What happens
    The index names files that are not in the folder, or a file is shorter than its header says. The load stops at that shard, after those
    before it were read.

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
    weights = need(checkpoint.weights)
    fix = Fix.display("Download the checkpoint again; complete files are kept", f"hf download {checkpoint.path}")
    if weights.missing_shards:
        yield Finding(
            f"{len(weights.missing_shards)} of the shards that the index names are not there, {weights.missing_shards[0]} first",
            fix=fix,
        )
    for name, lacking in (weights.short_shards or {}).items():
        yield Finding(f"{name} is cut off: {lacking:,} bytes are missing", fix=fix)
