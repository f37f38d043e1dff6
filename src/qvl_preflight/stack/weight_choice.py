"""Which of the weight files that are there a call takes, and what it raises where there are none of the kind that it asks for.

Run on 4.28.1, 4.32.0, 4.37.2, 4.40.2, 4.41.2, 4.45.2, 4.51.3, 4.57.1 and 5.23.0, on fabricated folders and caches, without network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.checkpoint import NO_WEIGHTS
from qvl_preflight.counted import counted, verb
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import hub
from qvl_preflight.stack.files import on_other_machine
from qvl_preflight.unknown import Undecided, Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row
from qvl_preflight.weight_files import (
    BIN,
    OTHER_FRAMEWORKS,
    SAFETENSORS,
    choose,
    is_shard,
    is_weights,
    weights_of_another_call,
    with_variant,
)

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint
    from qvl_preflight.plan import Draft, Situation
    from qvl_preflight.weight_files import Kind

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
    elif in_cache and choice.format == "bin":
        yield from _asked_for_all_the_same(situation, choice.sharded)


def _asked_for_all_the_same(situation: Situation, sharded: bool) -> Iterator[WillRaise]:
    """4.40 and 4.41 ask the hub whether it has safetensors of .bin files that are in the cache; 4.41 knows TRANSFORMERS_OFFLINE."""
    source, at_least = situation.checkpoint.source, situation.packages.at_least
    if source is None or not at_least("transformers", 4, 40) or at_least("transformers", 4, 42):
        return
    reason = hub.offline(situation.facts, situation.packages, situation.checkpoint.asked)
    if reason is None or (at_least("transformers", 4, 41) and not reason.startswith(("HF_HUB_OFFLINE", hub.NO_NETWORK))):
        return
    build = situation.facts.build
    network = build if isinstance(build, Unknown) else build.network
    if network is True:
        return
    name = SAFETENSORS + (".index.json" if sharded else "")
    host = f"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /{source.model}/resolve/"
    why = f"the weights in the cache are .bin files, and this release asks the hub for {name} before it loads them, whatever {reason} says"
    text = host if hub.endpoint(situation) == hub.DEFAULT_ENDPOINT else ""
    condition = None if network is False else "the hub cannot be reached from here"
    yield WillRaise("QVL963", Stage.CONFIG, "ConnectionError", text, "files", why, condition, Evidence.RUN)


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
    if not (why := _of_no_use(folder, names)):
        raise Undecided(NO_WEIGHTS.reason)  # they may be on the machine that the call is meant for
    text = (
        "Error no file named {safe} found in directory {folder}."
        if asked.use_safetensors
        else _NOT_IN_FOLDER.value(situation.packages)
    )
    yield WillRaise("QVL901", Stage.CONFIG, "OSError", text.format(**words), "files", why, evidence=Evidence.RUN)


def _of_no_use(folder: str, names: list[str]) -> str:
    """What a folder has in place of weights that can be found: shards without an index, dead links, folders. Empty for none of them."""
    if shards := sorted(filter(is_shard, names)):
        return f"{counted(len(shards), 'shard')} {verb(len(shards), 'is', 'are')} there, {shards[0]} for one, and no index that says which tensors are in which"
    try:
        others = sorted(name for name in os.listdir(folder) if is_weights(name) and name not in names)
    except OSError:
        return ""
    if not others:
        return ""
    path = os.path.join(folder, others[0])
    if os.path.isdir(path):
        return f"{others[0]} is a folder, and no file"
    if os.path.islink(path):
        return f"{others[0]} is a link to {os.readlink(path)}, which is not there"
    return ""


def _none_cached(situation: Situation, folder: str) -> Iterator[WillRaise]:
    checkpoint, asked = situation.checkpoint, situation.checkpoint.asked
    source = checkpoint.source
    reason = hub.offline(situation.facts, situation.packages, asked)
    if reason is None or source is None:
        return
    code, why = _mismatch(situation, _listing(folder))
    row = _none(asked.use_safetensors, reason).row(situation.packages)
    kind, text = hub.unaware(situation.packages, row.value) if reason.startswith("HF_HUB_OFFLINE") else row.value
    told = text.format(repo=source.model, **_words(situation))
    lacks = why or f"the cache {source.cache} has no weights of {source.model}"
    yield WillRaise(
        code or "QVL952", Stage.CONFIG, kind, told, "files", f"{reason}, and {lacks}", on_other_machine(source), row.evidence
    )


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
    which = missing[0] if len(missing) == 1 else f"{missing[0]} and {counted(len(missing) - 1, 'more shard')}"
    why = f"{reason}, and the cache {source.cache} lacks {which}{broken_off}"
    yield WillRaise("QVL952", Stage.CONFIG, "OSError", text, "files", why, on_other_machine(source), row.evidence)


def _none(use_safetensors: bool | None, reason: str) -> ByRelease[tuple[str, str]]:
    """What is raised where there are no weights that fit."""
    return hub.NO_SAFETENSORS if use_safetensors else hub.NO_WEIGHTS_NO_NETWORK if reason == hub.NO_NETWORK else hub.NO_WEIGHTS


def other_kind(checkpoint: Checkpoint) -> Kind | None:
    """The kind of weights that are there, where a call asks for another one."""
    folder = os.path.join(checkpoint.path, checkpoint.asked.subfolder)
    return weights_of_another_call(_listing(folder), checkpoint.asked.variant)


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
            f"{f'variant={asked.variant!r} is asked for' if asked.variant else 'no variant is asked for'}, and only {has} {'is' if found.variant else 'are'} there",
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
