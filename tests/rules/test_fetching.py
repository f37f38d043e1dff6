"""The commands that fetch files again."""

from __future__ import annotations

from pathlib import Path

import qvl_preflight
from qvl_preflight.testing import machine


def test_a_folder_in_a_cache_is_fetched_by_its_id(tmp_path: Path) -> None:
    """The path says which model and commit it is; of any other folder nobody knows, and no command is made up."""
    snapshot = tmp_path / "hub" / "models--o--broken" / "snapshots" / ("0" * 40)
    for folder in (snapshot, tmp_path / "plain"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    (found,) = (each for each in qvl_preflight.check(str(snapshot), facts=machine()).findings if each.code in ("QVL901", "QVL957"))
    assert found.fix is not None
    assert found.fix.commands == (f"hf download o/broken --revision {'0' * 40} --cache-dir {tmp_path}/hub",)
    (found,) = (
        each for each in qvl_preflight.check(str(tmp_path / "plain"), facts=machine()).findings if each.code in ("QVL901", "QVL957")
    )
    assert found.fix is not None
    assert found.fix.commands == ()
