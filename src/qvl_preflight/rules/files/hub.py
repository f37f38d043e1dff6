"""What the environment says of the hub, as it is really read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.plan import LoadPlan
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.hub import TRUE_WORDS
from qvl_preflight.symptoms import Symptom
from qvl_preflight.unknown import Unknown

_NO = ("0", "OFF", "NO", "FALSE", "N", "F", "NONE")


@rule(
    "QVL959",
    Severity.ERROR,
    topic="offline-missing-file",
    symptoms=(
        r"Invalid URL .{0,200}(/api/(models|datasets)/|/resolve/|hf-mirror|huggingface).{0,200}No scheme supplied",
        Symptom(r"missing an 'http://' or 'https://' protocol", within=r"huggingface_hub|transformers"),
    ),
)
def endpoint_without_scheme(plan: LoadPlan, env: Mapping[str, str] | Unknown) -> Iterator[Finding]:
    """
    HF_ENDPOINT is no address with https://, and no request can be sent to it.

    ## What happens
    The names of files are appended to it as they are. The first request raises MissingSchema, or UnsupportedProtocol since huggingface_hub 1.0;
    that a file is in the cache does not help. Set to nothing it counts as set, since huggingface_hub 0.29.

    ## Example
    ```python hardware=bare-mirror
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/offline")
    ```
    Use instead, with HF_ENDPOINT=https://hf-mirror.com or without it:
    ```python
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/offline")
    ```

    ## Fix safety
    Shown, not applied: it is a variable of the environment, and read when huggingface_hub is imported.
    """

    given = "" if isinstance(env, Unknown) else env.get("HF_ENDPOINT", "")
    host = re.sub(r"^(https?:)?/*", "", given, flags=re.IGNORECASE)
    fix = (
        Fix.display("Write the address with https://, before Python starts", f"export HF_ENDPOINT=https://{host}")
        if host
        else Fix.display("Unset HF_ENDPOINT before Python starts", "unset HF_ENDPOINT")
    )
    yield from as_planned(plan, "QVL959", fix)


@rule("QVL960", Severity.WARNING, topic="offline-missing-file")
def offline_word_not_read(env: Mapping[str, str] | Unknown, checkpoint: Checkpoint) -> Iterator[Finding]:
    """
    HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE has a value that is not read as yes.

    ## What happens
    1, on, yes and true count, in any case; every other word counts as no. The hub is asked for each file, and a machine without network waits
    for each of them.

    ## Example
    ```python hardware=offline-in-other-words
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/offline")
    ```
    Use instead HF_HUB_OFFLINE=1:
    ```python hardware=offline
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/offline")
    ```

    ## Fix safety
    Shown, not applied: it is a variable of the environment, and read when huggingface_hub is imported.
    """
    if (
        isinstance(env, Unknown)
        or checkpoint.source is None
        or checkpoint.source.hub != "huggingface"
        or checkpoint.asked.local_files_only
    ):
        return
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        value = env.get(name, "")
        if value and value.upper() not in (*TRUE_WORDS, *_NO):
            fix = Fix.display(f"Set {name}=1 before Python starts", f"export {name}=1")
            yield Finding(f"{name}={value} is not read as yes: the hub is asked for every file", fix=fix)
            return


@rule("QVL964", Severity.WARNING, topic="offline-missing-file")
def hub_variable_set_late(env_late: Mapping[str, str] | Unknown, checkpoint: Checkpoint) -> Iterator[Finding]:
    """
    A variable of the hub was set after huggingface_hub had been imported, and is not read.

    ## What happens
    HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_CACHE and HF_HOME are read once, when transformers, datasets or huggingface_hub itself is imported first. Set by
    `os.environ[…]` below that import they change nothing: the hub is asked at the old address, offline is not offline, the cache is the old one.

    ## Example
    ```python hardware=mirror-set-late
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/offline")
    ```
    Use instead, with the variable set before the import:
    ```python
    AutoModelForCausalLM.from_pretrained("tiny/llama", cache_dir="caches/offline")
    ```

    ## Fix safety
    Shown, not applied: restart Python, or the notebook's kernel.
    """
    if isinstance(env_late, Unknown) or checkpoint.source is None or checkpoint.source.hub != "huggingface":
        return
    given = checkpoint.asked
    names = [
        name
        for name in env_late
        if not (name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") and given.local_files_only)
        and not (name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME") and given.cache_dir)
    ]
    for name in names[:1]:
        now = f"{name}={env_late[name]}" if env_late[name] else f"{name} (now unset)"
        others = f", and {', '.join(names[1:])}" if names[1:] else ""
        fix = Fix.display(
            "Set it in the shell, or above the first import of transformers, datasets or huggingface_hub, and start Python anew"
        )
        yield Finding(f"{now}{others}: huggingface_hub had been imported before that, and goes on with what it read then", fix=fix)
