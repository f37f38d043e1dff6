"""The files that a call asks for before the weights: config.json and the code that comes with it.

Run on 4.28.1, 4.32.0, 4.37.2, 4.41.2, 4.45.2, 4.51.3, 4.57.1 and 5.23.0, on fabricated folders and caches, without network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.checkpoint import UnreadConfig
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import code_files, hub
from qvl_preflight.unknown import Undecided, Unknown, attempt
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation
    from qvl_preflight.sources import Source

_UNRECOGNIZED = "Unrecognized model in {folder}. Should have a `model_type` key in its config.json"
_NO_CONFIG: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.28", "4.45", ("OSError", "{folder} does not appear to have a file named config.json."), Evidence.RUN, "transformers 4.37.2 utils/hub.py, with peft hidden"),
    Row("4.45", None, ("ValueError", _UNRECOGNIZED), Evidence.RUN, "transformers 4.45.2, 4.57.1, 5.23.0 configuration_auto.py, with peft hidden"),
)  # fmt: skip
_BOTH = "Cannot pass 'force_download=True' and 'local_files_only=True' at the same time."
_FORCED: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.28", "4.33", ("OSError", ""), Evidence.RUN, "transformers 4.28.1, 4.32.0 configuration_utils.py"),
    Row("4.37", "4.50", ("ValueError", _BOTH), Evidence.RUN, "transformers 4.37.2, 4.41.2, 4.45.2 with huggingface_hub 0.36"),
    Row("4.57", "5.0", ("ValueError", _BOTH), Evidence.RUN, "transformers 4.57.1 with huggingface_hub 0.36"),
    Row("5.0", None, ("OSError", _BOTH), Evidence.RUN, "transformers 5.23.0 with huggingface_hub 2.4"),
)  # fmt: skip


def configuration(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: config.json, which a call that fetches nothing must find in the cache."""
    checkpoint = situation.checkpoint
    source, asked = checkpoint.source, checkpoint.asked
    if not isinstance(checkpoint.config, UnreadConfig) or source is None or source.hub != "huggingface" or asked.gguf_file:
        return
    why = hub.offline(situation.facts, situation.packages, asked)
    if why is not None:
        name = "/".join(filter(None, (asked.subfolder.strip("/"), "config.json")))
        lacks = f"has no {name} of {source.model}" + ("" if asked.revision == "main" else f" at revision {asked.revision}")
        yield _not_cached(situation, "QVL950", source, name, f"{why}, and the cache {source.cache} {lacks}")


def adapter(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: a folder that holds an adapter alone is loaded with its base model where peft is installed; else as a model, which it is not."""
    if situation.checkpoint.adapter is None:
        return
    knows = situation.packages.at_least("transformers", 4, 33)  # run on 4.28.1, 4.32.0: peft makes no difference before
    if knows and situation.packages.has("peft"):
        return
    row = _NO_CONFIG.row(situation.packages)
    text = row.value[1].format(folder=situation.checkpoint.adapter)
    looks = "without peft transformers looks" if knows else "this release, which knows no adapters, looks"
    why = f"the folder holds an adapter and no model, and {looks} for a model in it"
    yield WillRaise("QVL961", Stage.CONFIG, row.value[0], text, "files", why, evidence=row.evidence)


def forced_download(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: force_download=True in a call that fetches nothing. 4.50 to 4.56 are not claimed: 4.51.3 loads."""
    source, asked = situation.checkpoint.source, situation.checkpoint.asked
    if not asked.force_download or source is None or source.hub != "huggingface":
        return
    reason = hub.offline(situation.facts, situation.packages, asked)
    row = attempt(lambda: _FORCED.row(situation.packages))
    if reason is None or isinstance(row, Unknown) or reason == hub.NO_NETWORK:
        return
    own = reason.startswith("HF_HUB_OFFLINE") and not situation.packages.at_least("transformers", 4, 42)
    text = "Cannot pass 'force_download=True' when offline mode is enabled." if own and row.value[1] else row.value[1]
    why = f"force_download=True asks for files anew, and {reason} forbids to fetch any"
    yield WillRaise("QVL962", Stage.CONFIG, row.value[0], text, "files", why, evidence=row.evidence)


def code(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: the code that config.json names, in this repository or in another one."""
    checkpoint = situation.checkpoint
    if checkpoint.source is None or situation.request.kwargs.get("trust_remote_code") is not True:
        return
    if checkpoint.source.hub is None:
        for file in code_files.asked_for(checkpoint, situation.request.loader):
            if file.path is None and file.source == checkpoint.source:
                raise Undecided(f"{file.name}, code that config.json asks for, is not in the folder")
    if checkpoint.source.hub != "huggingface":
        return
    missing = [file for file in code_files.asked_for(checkpoint, situation.request.loader) if file.path is None]
    if not situation.packages.at_least("transformers", 4, 30):  # it knows no code in another repository
        missing = [file for file in missing if file.source.model == checkpoint.source.model]
    if not missing:
        return
    why = hub.offline(situation.facts, situation.packages, checkpoint.asked)
    if why is not None:
        first = missing[0]
        where = "" if first.source.model == checkpoint.source.model else f" of {first.source.model}"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        text = f"{why}, and the cache {first.source.cache} lacks {first.name}{where}{more}, code that config.json asks for"
        copied = "no copy of it is left from an earlier load" if first.imported else None
        yield _not_cached(situation, "QVL951", first.source, first.name, text, copied)


def _not_cached(situation: Situation, code: str, source: Source, name: str, why: str, condition: str | None = None) -> WillRaise:
    row = hub.required(situation.packages)
    text = row.value.format(endpoint=hub.endpoint(situation), repo=source.model, file=name)
    return WillRaise(code, Stage.CONFIG, "OSError", text, "files", why, condition or on_other_machine(source), row.evidence)


def on_other_machine(source: Source | None) -> str | None:
    """The condition under which what is not here is not there either."""
    return None if source is None or source.same_cache else "the cache of that machine lacks it as well"
