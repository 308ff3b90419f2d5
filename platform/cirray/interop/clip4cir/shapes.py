"""Infers the architecture of a CLIP or a Combiner from the shapes in its state dict.

CLIP4Cir's checkpoints do not record the backbone. The shapes determine each of OpenAI's models, as in OpenAI's own
loader: attention heads are always 64 wide, and the activation is always QuickGELU.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from torch import Tensor

from cirray.errors import CheckpointError
from cirray.models.combining.combiner import Combiner

# open_clip's names of OpenAI's models, in the variants with QuickGELU -> OpenAI's names.
PUBLISHED = {
    "RN50-quickgelu": "RN50",
    "RN101-quickgelu": "RN101",
    "RN50x4-quickgelu": "RN50x4",
    "RN50x16-quickgelu": "RN50x16",
    "RN50x64-quickgelu": "RN50x64",
    "ViT-B-32-quickgelu": "ViT-B/32",
    "ViT-B-16-quickgelu": "ViT-B/16",
    "ViT-L-14-quickgelu": "ViT-L/14",
    "ViT-L-14-336-quickgelu": "ViT-L/14@336px",
}
HEAD_WIDTH = 64
VOCABULARY = 49_408
# Scalars in OpenAI's archives that are not weights.
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True, slots=True)
class CombinerSizes:
    """d, p and h of a Combiner (paper section 3.2)."""

    dim: int
    projection: int
    hidden: int


class Shapes:
    """The shapes of a state dict; errors name it `where`."""

    def __init__(self, where: str, state: Mapping[str, Tensor]) -> None:
        self.where = where
        self._shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}

    def size(self, name: str, axis: int, axes: int) -> int:
        """Returns the size along `axis` of a tensor that must have `axes` dimensions.

        Raises:
            CheckpointError: it is missing, empty, or has another number of dimensions.
        """
        shape = self._shapes.get(name)
        if shape is None:
            raise CheckpointError(f"{self.where}: {name} is missing, so the model's sizes are unknown")
        if len(shape) != axes or 0 in shape:
            raise CheckpointError(f"{self.where}: {name} has shape {list(shape)}; expected {axes} dimensions")
        return shape[axis]

    def count(self, pattern: str) -> int:
        """Returns the number of distinct values of a pattern's group among the names."""
        matches = (re.match(pattern, name) for name in self._shapes)
        return len({match.group(1) for match in matches if match})

    def has(self, name: str) -> bool:
        """Whether the tensor exists."""
        return name in self._shapes


def clip_definition(where: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infers open_clip's definition of a CLIP from a state dict in OpenAI's naming.

    Args:
        where: name of the state dict in error messages, such as its file.

    Raises:
        CheckpointError: it is not an OpenAI CLIP.
    """
    shapes = Shapes(where, state)
    vocabulary = shapes.size("token_embedding.weight", 0, 2)
    if vocabulary != VOCABULARY:
        raise CheckpointError(
            f"{where}: the vocabulary has {vocabulary} tokens; expected {VOCABULARY} of OpenAI's tokenizer"
        )
    width = shapes.size("ln_final.weight", 0, 1)
    return {
        "embed_dim": shapes.size("text_projection", 1, 2),
        "quick_gelu": True,
        "vision_cfg": _transformer(shapes) if shapes.has("visual.proj") else _resnet(shapes),
        "text_cfg": {
            "context_length": shapes.size("positional_embedding", 0, 2),
            "vocab_size": vocabulary,
            "width": width,
            "heads": _heads(where, "the text tower", width),
            "layers": shapes.count(r"transformer\.resblocks\.(\d+)\."),
        },
    }


def _transformer(shapes: Shapes) -> dict[str, Any]:
    patch = shapes.size("visual.conv1.weight", 3, 4)
    width = shapes.size("visual.conv1.weight", 0, 4)
    _heads(shapes.where, "the image tower", width)
    return {
        "image_size": patch * _side(shapes, "visual.positional_embedding"),
        "layers": shapes.count(r"visual\.transformer\.resblocks\.(\d+)\."),
        "width": width,
        "patch_size": patch,
    }


def _resnet(shapes: Shapes) -> dict[str, Any]:
    width = shapes.size("visual.layer1.0.conv1.weight", 0, 4)
    _heads(shapes.where, "the image tower's attention pool", 32 * width)
    return {
        "image_size": 32 * _side(shapes, "visual.attnpool.positional_embedding"),  # five stages of stride 2
        "layers": [shapes.count(rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)],
        "width": width,
        "patch_size": None,
    }


def _side(shapes: Shapes, name: str) -> int:
    """Returns the side of the square grid of a positional embedding, whose first row is the class token."""
    rows = shapes.size(name, 0, 2) - 1
    side = math.isqrt(rows)
    if side < 1 or side * side != rows:
        raise CheckpointError(
            f"{shapes.where}: {name} has {rows + 1} rows; expected a square number plus 1 for the class token"
        )
    return side


def _heads(where: str, tower: str, width: int) -> int:
    if width % HEAD_WIDTH:
        raise CheckpointError(f"{where}: {tower} is {width} wide; expected a multiple of the head width {HEAD_WIDTH}")
    return width // HEAD_WIDTH


def published_name(definition: Mapping[str, Any]) -> str | None:
    """Returns open_clip's name of the OpenAI model with this definition; None if there is none."""
    return next((name for name in PUBLISHED if same_model(open_clip.get_model_config(name), definition)), None)


def same_model(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two open_clip definitions describe the same model, with or without explicit defaults."""
    return _with_defaults(one) == _with_defaults(other)


def _with_defaults(definition: Mapping[str, Any]) -> dict[str, Any]:
    vision = {"head_width": HEAD_WIDTH, "patch_size": None, **definition["vision_cfg"]}
    layers = vision.get("layers")
    vision["layers"] = list(layers) if isinstance(layers, (list, tuple)) else layers
    return {"quick_gelu": False, **definition, "vision_cfg": vision, "text_cfg": dict(definition["text_cfg"])}


def complete_state(
    where: str, state: Mapping[str, Tensor], definition: Mapping[str, Any]
) -> tuple[dict[str, Tensor], list[str]]:
    """Returns a state dict with exactly the tensors of the model, and notes on added ones.

    Missing tensors are added only if no feature depends on them: the logit scale and batch norm's batch counters.

    Raises:
        CheckpointError: there are missing or unexpected tensors, or tensors of other shapes.
    """
    with torch.device("meta"):  # shapes only: allocates no memory
        expected = open_clip.CLIP(**definition).state_dict()
    given = {name: tensor for name, tensor in state.items() if name not in _NOT_WEIGHTS}
    notes = []
    for name in expected.keys() - given.keys():
        if name.endswith("num_batches_tracked"):
            given[name] = torch.tensor(0)
        elif name == "logit_scale":
            given[name] = torch.tensor(math.log(100.0))
            notes.append("CLIP: logit_scale was missing and is set to ln 100, OpenAI's value; no feature depends on it")
    _check_shapes(where, given, expected)
    return given, notes


def _check_shapes(where: str, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    wrong = [f"{name} is missing" for name in expected if name not in given]
    wrong += [f"{name} is unexpected" for name in given if name not in expected]
    wrong += [
        f"{name} has shape {list(given[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if wrong:
        more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(f"{where} is inconsistent with the sizes inferred from it: {'; '.join(wrong[:5])}{more}")


def combiner_sizes(where: str, state: Mapping[str, Tensor]) -> CombinerSizes:
    """Infers d, p and h of a Combiner and checks the shapes of all of its tensors.

    Raises:
        CheckpointError: there are missing or unexpected tensors, or tensors of other shapes.
    """
    shapes = Shapes(where, state)
    sizes = CombinerSizes(
        dim=shapes.size("text_projection_layer.weight", 1, 2),
        projection=shapes.size("text_projection_layer.weight", 0, 2),
        hidden=shapes.size("combiner_layer.weight", 0, 2),
    )
    with torch.device("meta"):
        expected = Combiner(sizes.dim, sizes.projection, sizes.hidden).state_dict()
    _check_shapes(where, state, expected)
    return sizes
