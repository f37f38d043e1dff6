"""Calls that fetch nothing, and what the cache lacks for them."""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.facts import Packages
from qvl_preflight.plan import LoadPlan, WillRaise
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.rules.files.fetching import download
from qvl_preflight.stack.code_files import asked_for


@rule(
    "QVL950",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(
        r"We couldn't connect to '[^']*' to load (this file|the files), (and )?couldn't find (it|them) in the cached files",
        r"LocalEntryNotFoundError",
        r"Cannot find the requested files in the (disk|local) cache",
    ),
)
def model_not_in_cache(plan: LoadPlan, checkpoint: Checkpoint, packages: Packages, remedies: Remedies) -> Iterator[Finding]:
    """
    The call fetches nothing, and the cache does not have this model at this revision.

    ## What happens
    `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, `local_files_only=True` or a machine without network: files come out of the cache alone. There a
    branch or tag counts only where `refs/` has it, a commit only by its 40 digits. Without config.json the load stops at once: OSError,
    "We couldn't connect to 'https://huggingface.co' …".

    ## Example
    ```python hardware=offline
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/pinned")
    ```
    Use instead, for the revision that is in the cache:
    ```python hardware=offline
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/pinned", revision="0123456789abcdef0123456789abcdef01234567")
    ```

    ## Fix safety
    Unsafe: another revision can hold other weights. Where the cache has none, or several, the command that fetches the model is shown.
    """

    def remedy(raised: WillRaise) -> Fix:
        repository = checkpoint.source.repository if checkpoint.source else None
        commits = repository.commits() if repository else ()
        if len(commits) == 1 and checkpoint.source and checkpoint.source.folder is None:
            return remedies.edit(f"Load the revision that is in the cache, {commits[0]}", Applicability.UNSAFE, revision=commits[0])
        return Fix.display("Fetch the model where there is network, into this cache", download(packages, checkpoint))

    yield from as_planned(plan, "QVL950", remedy)


@rule("QVL951", Severity.ERROR, topic="offline-missing-file", symptoms=(r"Could not locate the \w+\.py inside",))
def code_not_in_cache(plan: LoadPlan, checkpoint: Checkpoint, request: Request, packages: Packages) -> Iterator[Finding]:
    """
    The call fetches nothing, and the cache lacks a file of the model's own code.

    ## What happens
    With trust_remote_code=True the files that auto_map names are asked for, and those that they import from beside them; a name like
    `org/repo--module.Class` means another repository. Fetching the weights alone, or one repository of two, leaves them out. The load stops
    before the weights: OSError, "We couldn't connect to …".

    ## Example
    ```python hardware=offline
    AutoModelForCausalLM.from_pretrained("tiny/no-code", cache_dir="caches/offline", trust_remote_code=True)
    ```
    Use instead, once the code is in the cache:
    ```python hardware=offline
    AutoModelForCausalLM.from_pretrained("tiny/code", cache_dir="caches/offline", trust_remote_code=True)
    ```

    ## Fix safety
    Shown, not applied: fetch the repository that holds the code.
    """

    missing = (file.source.model for file in asked_for(checkpoint, request.loader) if file.path is None)
    fetch = (download(packages, checkpoint, model) for model in missing)
    fix = Fix.display("Fetch the code where there is network, into this cache", *dict.fromkeys(fetch))
    yield from as_planned(plan, "QVL951", fix)


@rule(
    "QVL952",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(r"does not appear to have (a file|files) named", r"'NoneType' object has no attribute 'endswith'"),
)
def weights_not_in_cache(plan: LoadPlan, checkpoint: Checkpoint, packages: Packages) -> Iterator[Finding]:
    """
    The call fetches nothing, and the cache lacks the weights, or some of their shards.

    ## What happens
    A download that was broken off, or one of config.json alone. Some releases do not say so: without any weights, transformers 4.42 to 4.57
    stop with `AttributeError: 'NoneType' object has no attribute 'endswith'`, older ones try to reach the hub all the same.

    ## Example
    ```python hardware=offline
    AutoModelForCausalLM.from_pretrained("tiny/one-shard-of-two", cache_dir="caches/offline")
    ```
    Use instead, once all shards are in the cache:
    ```python hardware=offline
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/offline")
    ```

    ## Fix safety
    Shown, not applied: fetch the rest. Files that are complete are not fetched again.
    """
    yield from as_planned(
        plan, "QVL952", Fix.display("Fetch the weights where there is network, into this cache", download(packages, checkpoint))
    )


@rule(
    "QVL962",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(r"Cannot pass 'force_download=True' (and 'local_files_only=True'|when offline)",),
)
def forced_download_offline(plan: LoadPlan, remedies: Remedies) -> Iterator[Finding]:
    """
    force_download=True in a call that may fetch nothing.

    ## What happens
    The two exclude one another, also for files that are in the cache: ValueError or OSError before anything is read.

    ## Example
    ```python hardware=offline
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/offline", force_download=True)
    ```
    Use instead:
    ```python hardware=offline
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/offline")
    ```

    ## Fix safety
    Safe: the files of the cache, which are the only ones that the call may use.
    """
    yield from as_planned(plan, "QVL962", remedies.without("force_download"))


@rule("QVL963", Severity.ERROR, topic="offline-missing-file", symptoms=(r"Max retries exceeded with url: \S+/model\.safetensors",))
def cached_bin_files_ask_the_hub(plan: LoadPlan) -> Iterator[Finding]:
    """
    The cache has the weights as .bin files, and this release asks the hub for safetensors anyway.

    ## What happens
    transformers 4.40 looks on the hub whether it has safetensors files of a model whose .bin files it has just found, offline or not; 4.41
    does so unless TRANSFORMERS_OFFLINE is set (HF_HUB_OFFLINE it does not know yet). Without network that is a ConnectionError.

    ## Example
    ```python hardware=offline-without-network stack=spring-2024
    AutoModelForCausalLM.from_pretrained("tiny/bin", cache_dir="caches/offline")
    ```
    Use instead transformers 4.42 or later, or weights in the safetensors format:
    ```python hardware=offline-without-network stack=middle-bnb
    AutoModelForCausalLM.from_pretrained("tiny/bin", cache_dir="caches/offline")
    ```

    ## Fix safety
    Shown, not applied: it changes the environment.
    """
    yield from as_planned(
        plan,
        "QVL963",
        Fix.display(
            "Install transformers 4.42 or later, or set TRANSFORMERS_OFFLINE=1 for 4.41", "pip install 'transformers>=4.42'"
        ),
    )
