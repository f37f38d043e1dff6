"""What a .bin file of PyTorch holds, by the directory of its zip archive and the text of its pickle. Nothing is unpickled.

torch.save has written zip archives since torch 1.6 (serialization.py): one entry ``…/data/N`` for each storage, uncompressed, and a pickle
that names the tensors. Older files are one pickle; of them only the size is known.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from dataclasses import dataclass

from qvl_preflight.safetensors import Tensor
from qvl_preflight.torch_pickle import read_state_dict

_END, _END_64, _MAGIC = b"PK\x05\x06", b"PK\x06\x06", b"PK\x03\x04"
_MOST_DIRECTORY_BYTES = 64 * 2**20  # a directory entry takes about 100 bytes; checkpoints have thousands of tensors
_MOST_PICKLE_BYTES = 32 * 2**20  # a tensor takes about 150 bytes
_STORAGE = re.compile(r"(^|/)data/\d+$")


@dataclass(frozen=True)
class TorchFile:
    """``total_bytes`` of its storages; ``complete``: False where the end of the archive is missing. ``tensors``: None where its pickle is not
    that of a plain state dict."""

    total_bytes: int
    complete: bool = True
    tensors: tuple[Tensor, ...] | None = None


def read_torch_file(path: str) -> TorchFile:
    """What the directory of one file says. Raises OSError."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(4) != _MAGIC:
            return TorchFile(size)  # a plain pickle
        file.seek(max(0, size - 2**16 - 98))  # the end record, its 64-bit twin and the longest comment
        tail = file.read()
        end = tail.rfind(_END)
        if end < 0:
            return TorchFile(size, complete=False)
        if _directory_bytes(tail, end) > _MOST_DIRECTORY_BYTES:
            return TorchFile(size)
        try:
            with zipfile.ZipFile(file) as archive:
                storages = [entry.file_size for entry in archive.infolist() if _STORAGE.search(entry.filename)]
                return TorchFile(sum(storages), tensors=_tensors(archive))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, zlib.error, EOFError):
            return TorchFile(size, complete=False)


def _tensors(archive: zipfile.ZipFile) -> tuple[Tensor, ...] | None:
    names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(names) != 1:
        return None
    with archive.open(names[0]) as file:
        pickled = file.read(_MOST_PICKLE_BYTES + 1)
    return read_state_dict(pickled) if len(pickled) <= _MOST_PICKLE_BYTES else None


def _directory_bytes(tail: bytes, end: int) -> int:
    """The size of the central directory, as the end record gives it (APPNOTE 4.3.14 and 4.3.16)."""
    large = tail.rfind(_END_64, 0, end)
    return int.from_bytes(tail[large + 40 : large + 48] if large >= 0 else tail[end + 12 : end + 16], "little")
