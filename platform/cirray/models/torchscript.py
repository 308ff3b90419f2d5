"""Reads the tensors of a TorchScript archive, such as the files of CLIP that OpenAI published.

`torch.jit.load` would compile the program in the archive. This reader takes the tensors only and runs no code of the
file: every global name in its pickle that is not listed here is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}
_LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive. The files of `torch.save` are zip archives too, but have no code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of the scripted module by dotted name, as in a state dict.

    Raises:
        pickle.UnpicklingError: the archive holds other objects than tensors, numbers and modules.
        zipfile.BadZipFile, OSError, RuntimeError, KeyError, ValueError: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(pickled) as stream:
            module = _Unpickler(stream, archive, pickled.removesuffix("data.pkl")).load()
    return dict(_tensors(module, ""))


class _Module:
    """A scripted module: its attributes are its tensors, its submodules and some numbers."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(stream)
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not loaded")

    def persistent_load(self, pid: Any) -> Tensor:
        """Returns a storage as a tensor of one axis; pid is ("storage", dtype, file, device, number of elements)."""
        _, dtype, file, _, count = pid
        content = self._archive.read(f"{self._root}data/{file}")
        flat = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
        if len(flat) != count:
            raise ValueError(f"data/{file} has {len(flat)} elements, not {count}")
        return flat


def _rebuilt(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
