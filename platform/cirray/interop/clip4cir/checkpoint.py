"""CLIP4Cir's checkpoint files: {'epoch': int, 'CLIP': state dict} and {'epoch': int, 'Combiner': state dict}.

Loading runs no code from the file (`weights_only`) and uses at most `archive.MAX_BYTES` of memory.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cirray.errors import CheckpointError
from cirray.interop.clip4cir.archive import MAX_BYTES, check_archive

Part = Literal["CLIP", "Combiner"]
# A key that identifies each of the two state dicts.
_MARKER_KEY: dict[Part, str] = {"CLIP": "token_embedding.weight", "Combiner": "combiner_layer.weight"}
_OPTION: dict[Part, str] = {"CLIP": "--clip", "Combiner": "--combiner"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One state dict of CLIP4Cir.

    Attributes:
        state: name -> tensor on the CPU; floating-point tensors are float32 and finite.
        epoch: number of the epoch it was saved after; None if not recorded.
        notes: descriptions of the conversions made while reading.
    """

    state: dict[str, Tensor]
    epoch: int | None
    notes: tuple[str, ...]


def read_checkpoint(path: Path, part: Part) -> Checkpoint:
    """Reads one part of CLIP4Cir's model.

    Raises:
        CheckpointError: the file is not such a checkpoint, is damaged, or contains anything but finite tensors.
    """
    check_archive(path)
    content = _load(path)
    if not isinstance(content, Mapping) or part not in content:
        raise CheckpointError(f"{path} is {_described(path, content, part)}")
    state, notes = _tensors(path, part, content[part])
    epoch = content.get("epoch")
    return Checkpoint(state, epoch if isinstance(epoch, int) else None, notes)


def write_checkpoint(path: Path, part: Part, state: Mapping[str, Tensor], epoch: int) -> None:
    """Writes one part in CLIP4Cir's format, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save({"epoch": epoch, part: dict(state)}, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} contains code or objects besides tensors, which are not loaded. If you trust it, load it with "
            f"torch and save only its state dict"
        ) from None
    except Exception as error:  # torch.load raises many types on damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(f"{path} is damaged: {reason}") from None


def _described(path: Path, content: Any, wanted: Part) -> str:
    """Describes the content of a torch file that lacks the part `wanted`, and the remedy."""
    expected = f"expected {{'epoch', '{wanted}'}}"
    if not isinstance(content, Mapping):
        return f"a torch file that contains a {type(content).__name__}; {expected}"
    other: Part = "Combiner" if wanted == "CLIP" else "CLIP"
    if other in content:
        return f"a checkpoint of CLIP4Cir's {other}; {expected}: pass it as {_OPTION[other]}"
    for part, name in _MARKER_KEY.items():
        if name in _plain_names(content):
            return (
                f"a bare state dict of {part}; {expected}. Wrap it: "
                f"torch.save({{'epoch': 0, '{part}': state_dict}}, FILE), and give that as {_OPTION[part]}"
            )
    if "state_dict" in content:
        return (
            f"a training checkpoint with a 'state_dict', such as open_clip's; {expected}. jobs/bundle.py makes a "
            f"bundle of open_clip weights: --backbone.model NAME --backbone.weights {path}"
        )
    keys = ", ".join(repr(key) for key in list(content)[:4]) or "nothing"
    return f"another kind of torch file (it contains {keys}); {expected}"


def _plain_names(state: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns a state dict without DataParallel's prefix "module."."""
    names = {str(name): value for name, value in state.items()}
    wrapped = bool(names) and all(name.startswith("module.") for name in names)
    return {name.removeprefix("module."): value for name, value in names.items()} if wrapped else names


def _tensors(path: Path, part: Part, value: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    if not isinstance(value, Mapping) or not value:
        raise CheckpointError(f"{path}: '{part}' must be a state dict, not {type(value).__name__}")
    named = _plain_names(value)
    for name, tensor in named.items():
        _check_tensor(f"{path}: '{part}' entry {name}", tensor)
    # before any copy: a view may be far larger than its storage
    if sum(tensor.numel() * tensor.element_size() for tensor in named.values()) > MAX_BYTES:
        raise CheckpointError(f"{path}: the tensors of '{part}' have more than {MAX_BYTES:,} bytes")
    single = {n: t.float().contiguous() if t.is_floating_point() else t for n, t in named.items()}
    for name, tensor in single.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: '{part}' entry {name} contains NaN or infinity: its training diverged")
    others = sorted(
        {str(t.dtype).removeprefix("torch.") for t in named.values() if t.is_floating_point()} - {"float32"}
    )
    notes = (f"{part}: {' and '.join(others)} weights were converted to float32",) if others else ()
    return single, notes


def _check_tensor(where: str, tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise CheckpointError(f"{where} must be a tensor, not {type(tensor).__name__}")
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise CheckpointError(f"{where} must be a dense real tensor, not {tensor.dtype} ({tensor.layout})")
