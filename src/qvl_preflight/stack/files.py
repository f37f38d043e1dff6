"""The files that a call asks for, in the order in which it does: config.json, the code that comes with it, the weights.

Run on 4.28.1, 4.32.0, 4.37.2, 4.41.2, 4.45.2, 4.51.3, 4.57.1 and 5.23.0, on fabricated folders and caches, without network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.checkpoint import UnreadConfig
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import code_files, hub
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row
from qvl_preflight.weight_files import BIN, OTHER_FRAMEWORKS, SAFETENSORS, choose, weights_of_another_call, with_variant

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation
    from qvl_preflight.sources import Source

_OTHERS = "tf_model.h5, model.ckpt.index or flax_model.msgpack found in directory {folder}."
_NOT_IN_FOLDER: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.28", "4.41", "Error no file named {bin}, " + _OTHERS, Evidence.RUN, "transformers 4.28.1, 4.32.0, 4.37.2 modeling_utils.py"),
    Row("4.41", "5.0", "Error no file named {bin}, {safe}, " + _OTHERS, Evidence.RUN, "transformers 4.41.2, 4.45.2, 4.51.3, 4.57.1 modeling_utils.py"),
    Row("5.0", None, "Error no file named {safe}, or {bin}, found in directory {folder}.", Evidence.RUN, "transformers 5.23.0 modeling_utils.py"),
)  # fmt: skip
# use_safetensors=True and a folder of .bin files: loaded all the same before 4.43.
_ONLY_SAFETENSORS: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.28", "4.43", None, Evidence.RUN, "transformers 4.28.1, 4.37.2, 4.41.2 modeling_utils.py"),
    Row("4.43", None, "Error no file named {safe} found in directory {folder}.", Evidence.RUN, "transformers 4.45.2, 4.51.3, 4.57.1, 5.23.0 modeling_utils.py"),
)  # fmt: skip
_OTHER_FRAMEWORK: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.28", "5.0", "Error no file named {bin} found in directory {folder} but there is a file for {framework} weights.", Evidence.RUN, "transformers 4.28.1 to 4.57.1 modeling_utils.py"),
    Row("5.0", None, "Error no file named {safe}, or {bin}, found in directory {folder}.", Evidence.RUN, "transformers 5.23.0 modeling_utils.py"),
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


def code(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: the code that config.json names, in this repository or in another one."""
    checkpoint = situation.checkpoint
    if (
        checkpoint.source is None
        or checkpoint.source.hub != "huggingface"
        or situation.request.kwargs.get("trust_remote_code") is not True
    ):
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
    row = hub.REQUIRED.row(situation.packages)
    text = row.value.format(endpoint=hub.endpoint(situation), repo=source.model, file=name)
    return WillRaise(code, Stage.CONFIG, "OSError", text, "files", why, condition or _elsewhere(source), row.evidence)


def _elsewhere(source: Source | None) -> str | None:
    """The condition under which what is not here is not there either."""
    return None if source is None or source.same_cache else "the cache of that machine lacks it as well"


def weights(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: is there a file of weights of the kind that the call asks for?"""
    checkpoint = situation.checkpoint
    source, asked = checkpoint.source, checkpoint.asked
    own_way = asked.gguf_file or asked.other_framework or checkpoint.config.get("transformers_weights")
    if source is None or source.hub == "modelscope" or own_way:
        return
    folder = os.path.join(checkpoint.path, asked.subfolder)
    choice = choose(lambda name: os.path.isfile(os.path.join(folder, name)), asked.use_safetensors, asked.variant)
    in_cache = source.hub == "huggingface"
    if choice is None or (
        asked.use_safetensors and choice.format == "bin" and (in_cache or _ONLY_SAFETENSORS.value(situation.packages))
    ):
        yield from _none_cached(situation, folder) if in_cache else _none_in_folder(situation, folder)
    elif in_cache and not isinstance(checkpoint.files, Unknown) and checkpoint.files.missing:
        yield from _shards_not_cached(situation, checkpoint.files.missing)


def _none_in_folder(situation: Situation, folder: str) -> Iterator[WillRaise]:
    """A folder of config.json alone says nothing of its weights; one that has others than the call asks for does."""
    asked, names = situation.checkpoint.asked, _listing(folder)
    words = _words(situation) | {"folder": situation.request.model}
    code, why = _mismatch(situation, names)
    if code:
        only = _ONLY_SAFETENSORS.row(situation.packages)
        row = only if asked.use_safetensors and only.value else _NOT_IN_FOLDER.row(situation.packages)
        yield WillRaise(code, Stage.CONFIG, "OSError", str(row.value).format(**words), "files", why, evidence=row.evidence)
        return
    for name, framework in OTHER_FRAMEWORKS.items():
        if name in names and not asked.use_safetensors and not asked.variant:
            told = _OTHER_FRAMEWORK.row(situation.packages)
            text = told.value.format(**words, framework=framework)
            why = f"the folder holds weights for {framework} alone ({name})"
            yield WillRaise("QVL958", Stage.CONFIG, "OSError", text, "files", why, evidence=told.evidence)
            return


def _none_cached(situation: Situation, folder: str) -> Iterator[WillRaise]:
    checkpoint, asked = situation.checkpoint, situation.checkpoint.asked
    source = checkpoint.source
    reason = hub.offline(situation.facts, situation.packages, asked)
    if reason is None or source is None:
        return
    code, why = _mismatch(situation, _listing(folder))
    row = (hub.NO_SAFETENSORS if asked.use_safetensors else hub.NO_WEIGHTS).row(situation.packages)
    kind, text = hub.unaware(situation.packages, row.value) if reason.startswith("HF_HUB_OFFLINE") else row.value
    told = text.format(repo=source.model, **_words(situation))
    lacks = why or f"the cache {source.cache} has no weights of {source.model}"
    yield WillRaise(code or "QVL952", Stage.CONFIG, kind, told, "files", f"{reason}, and {lacks}", _elsewhere(source), row.evidence)


def _shards_not_cached(situation: Situation, missing: tuple[str, ...]) -> Iterator[WillRaise]:
    checkpoint = situation.checkpoint
    source = checkpoint.source
    reason = hub.offline(situation.facts, situation.packages, checkpoint.asked)
    if reason is None or source is None:
        return
    row = hub.SHARD.row(situation.packages)
    first = "/".join(filter(None, (checkpoint.asked.subfolder.strip("/"), missing[0])))
    text = row.value.format(endpoint=hub.endpoint(situation), repo=source.model, file=first)
    if len(missing) > 1 and situation.packages.at_least("transformers", 4, 50):
        text = f"{source.model} does not appear to have files named ('{first}',"
    broken_off = ", of a download that was broken off" if (repository := source.repository) and repository.is_unfinished() else ""
    why = f"{reason}, and the cache {source.cache} lacks {len(missing)} of the shards that the index names, {missing[0]} first{broken_off}"
    yield WillRaise("QVL952", Stage.CONFIG, "OSError", text, "files", why, _elsewhere(source), row.evidence)


def _mismatch(situation: Situation, names: list[str]) -> tuple[str, str]:
    """The code and the reason where there are weights, of another kind than the call asks for; empty where there are none."""
    asked = situation.checkpoint.asked
    found = weights_of_another_call(names, asked.variant)
    if found is None:
        return "", ""
    kind = "safetensors" if found.format == "safetensors" else ".bin"
    if found.variant != asked.variant:
        has = f"the variant {found.variant}" if found.variant else "weights without a variant"
        return (
            "QVL956",
            f"{f'variant={asked.variant!r} is asked for' if asked.variant else 'no variant is asked for'}, and there is only {has}",
        )
    given = f"use_safetensors={asked.use_safetensors}"
    return ("QVL954" if asked.use_safetensors else "QVL955"), f"{given} is asked for, and there are only {kind} files"


def _words(situation: Situation) -> dict[str, str]:
    variant = situation.checkpoint.asked.variant
    index = with_variant(SAFETENSORS + ".index.json", variant)
    return {"bin": with_variant(BIN, variant), "safe": with_variant(SAFETENSORS, variant), "safe_index": index}


def _listing(folder: str) -> list[str]:
    """Its files. A link whose blob is gone is none."""
    try:
        return [name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name))]
    except OSError:
        return []
