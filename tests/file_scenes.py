"""The folders and caches on which the runs of files_seen.json were made, with true headers and empty bodies."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from qvl_preflight.testing.caches import COMMIT, write_cache
from qvl_preflight.testing.files import Tensors, write_checkpoint, write_safetensors, write_torch_file

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_hidden_layers": 1, "vocab_size": 256, "torch_dtype": "float16",
}  # fmt: skip
ONE: Tensors = {"model.embed_tokens.weight": ("F16", (256, 64))}
TWO: list[Tensors] = [ONE, {"lm_head.weight": ("F16", (256, 64))}]
CODE = {
    "configuration_x.py": "class XConfig: ...\n",
    "helper_x.py": "A = 1\n",
    "modeling_x.py": "from .configuration_x import XConfig\nfrom .helper_x import A\n\n\nclass XModel:\n    config_class = XConfig\n",
}
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 822656\n"
PAGE = "<!DOCTYPE html>\n<html><head><title>Access denied</title></head><body></body></html>\n"


def own(repository: str = "") -> dict[str, Any]:
    """A configuration that names code, in this repository or in another one."""
    at = f"{repository}--" if repository else ""
    named = {"AutoConfig": f"{at}configuration_x.XConfig", "AutoModelForCausalLM": f"{at}modeling_x.XModel"}
    return {**LLAMA, "model_type": "xx", "architectures": ["XModel"], "auto_map": named}


def folder(path: Path, weights: str = "st", **config: Any) -> Path:
    """A checkpoint of one safetensors file (st), two (sts), one .bin file (bin), two (bins), or none."""
    write_checkpoint(str(path), {**LLAMA, **config}, TWO if weights == "sts" else [ONE] if weights == "st" else [])
    if weights == "bin":
        write_torch_file(str(path / "pytorch_model.bin"), ONE)
    if weights == "bins":
        names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
        for name in names:
            write_torch_file(str(path / name), ONE)
        index = {"metadata": {"total_size": 65536}, "weight_map": dict(zip(("a", "b"), names, strict=True))}
        (path / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    return path


def make_folders(root: Path) -> None:
    """Each under the name by which the runs call it."""
    for name in ("st", "bin", "sts", "bins", "none"):
        folder(root / name, name)
    write_safetensors(str(folder(root / "fp16", "none") / "model.fp16.safetensors"), ONE)
    for name, text in (("lfs", POINTER), ("empty", ""), ("html", PAGE)):
        for kind, file in (("st", "model.safetensors"), ("bin", "pytorch_model.bin")):
            (folder(root / f"{name}-{kind}", "none") / file).write_text(text, encoding="utf-8")
    for name, file in (("short-st", "model.safetensors"), ("short-bin", "pytorch_model.bin")):
        path = folder(root / name, name.rpartition("-")[2]) / file
        os.truncate(path, path.stat().st_size - 11)
    (folder(root / "shards-gone", "sts") / "model-00002-of-00002.safetensors").unlink()
    (folder(root / "bins-gone", "bins") / "pytorch_model-00002-of-00002.bin").unlink()
    folder(root / "with-sub", "none")
    for name in ("with-sub", "sub-only"):
        folder(root / name / "sub")
    (folder(root / "tf", "none") / "tf_model.h5").write_bytes(b"\x89HDF")
    (folder(root / "flax", "none") / "flax_model.msgpack").write_bytes(b"\x80")


def make_cache(root: Path) -> None:
    """Each repository under the name by which the runs call it."""

    def hub(name: str, config: dict[str, Any] = LLAMA, shards: list[Tensors] | None = None, **kwargs: Any) -> Path:
        return Path(write_cache(str(root), f"o/{name}", config, [ONE] if shards is None else shards, **kwargs))

    for name in ("ok", "onlyst", "noconfig", "noconfig-ne", "tag", "noref", "broken", "brokenconfig"):
        gone = ["config.json"] if name.startswith("noconfig") else []
        hub(name, without=gone, revision={"tag": "v1", "noref": None}.get(name, "main"))
    hub("oks", shards=TWO)
    hub("noindex", shards=TWO, without=["model.safetensors.index.json"])
    hub("shard", shards=TWO, without=["model-00002-of-00002.safetensors"])
    hub("configonly", shards=[])
    hub("configonly-ne", shards=[], absent=["model.safetensors"])
    for name, weights in (("onlybin", "bin"), ("okbins", "bins"), ("shardbin", "bins")):
        shutil.copytree(folder(root / "tmp", weights), hub(name, shards=[]), dirs_exist_ok=True)
        shutil.rmtree(root / "tmp")
    (root / "models--o--shardbin" / "snapshots" / COMMIT / "pytorch_model-00002-of-00002.bin").unlink()
    variant = hub("variant", shards=[])
    write_safetensors(str(variant / "model.fp16.safetensors"), ONE)
    for name, missing in (("code", ""), ("code-nomodeling", "modeling_x.py"), ("code-nohelper", "helper_x.py"), ("code-noconfiguration", "configuration_x.py")):  # fmt: skip
        hub(name, own(), code=CODE, without=[missing])
    hub("other-missing", own("o/gone"))
    hub("other-user", own("o/other"))
    hub("other", own(), [], code=CODE, without=["config.json"])
    for name, file in (("broken", "model.safetensors"), ("brokenconfig", "config.json")):
        (root / f"models--o--{name}" / "snapshots" / COMMIT / file).resolve().unlink()
