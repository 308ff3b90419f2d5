"""The text tower from before stage 1, kept beside the fine-tuned one; tensors that both share exist once."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from cirray.errors import BundleError
from cirray.models.clip import Encoder, belongs_to
from cirray.models.encoder_manifest import WEIGHTS


def changed_text_tensors(trained: Path, pretrained: Path) -> dict[str, Tensor]:
    """Returns the tensors of the text tower in the encoder folder `pretrained` that differ from those in `trained`.

    Raises:
        BundleError: the two text towers have different architectures.
    """
    changed = {}
    with safe_open(trained / WEIGHTS, "pt") as ours, safe_open(pretrained / WEIGHTS, "pt") as theirs:
        names = {name for name in ours.keys() if belongs_to(name, "text")}  # noqa: SIM118  (it is no mapping)
        if names != {name for name in theirs.keys() if belongs_to(name, "text")}:  # noqa: SIM118
            raise BundleError(f"the text towers in {trained} and {pretrained} have different tensors")
        for name in sorted(names):
            start, now = theirs.get_tensor(name), ours.get_tensor(name)
            if start.shape != now.shape:
                raise BundleError(
                    f"{name} has shape {list(now.shape)} in {trained}, but {list(start.shape)} in {pretrained}"
                )
            if not torch.equal(start, now):
                changed[name] = start
    return changed


def with_text_tower(encoder: Encoder, tensors: Mapping[str, Tensor]) -> Encoder:
    """Returns an encoder with other tensors in its text tower. All other tensors are the same memory in both.

    Raises:
        RuntimeError: the encoder's text tower has no such tensors.
    """
    state = encoder.clip.state_dict(keep_vars=True)
    wrong = [name for name in tensors if name not in state or not belongs_to(name, "text")]
    if wrong:
        raise RuntimeError(f"the text tower has no tensor {', '.join(wrong[:5])}")
    shared = {id(encoder.clip.visual): encoder.clip.visual}
    shared |= {id(tensor): tensor for name, tensor in state.items() if name not in tensors}
    clip = copy.deepcopy(encoder.clip, shared)
    clip.load_state_dict(dict(tensors), strict=False)
    other = Encoder(clip, encoder.definition, encoder.tokenizer, encoder.image_input, encoder.preprocess)
    return other.to(next(encoder.parameters()).device)
