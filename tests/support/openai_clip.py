"""A second implementation of OpenAI's CLIP, as functions of a state dict: a test oracle without open_clip's code.

Also random state dicts with OpenAI's names and shapes, scaled so that activations keep their magnitude in all layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]
Named = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Sizes:
    """The sizes of one CLIP. For a ResNet, `patch` is None and `layers` has four values."""

    dim: int
    resolution: int
    width: int
    layers: tuple[int, ...]
    patch: int | None
    text_width: int
    text_layers: int


RN50 = Sizes(1024, 224, 64, (3, 4, 6, 3), None, 512, 12)
RN50X4 = Sizes(640, 288, 80, (4, 6, 10, 6), None, 640, 12)
VIT_B_32 = Sizes(512, 224, 768, (12,), 32, 512, 12)
SMALL_RN = Sizes(24, 96, 16, (1, 2, 1, 1), None, 64, 2)
SMALL_VIT = Sizes(24, 48, 128, (2,), 16, 64, 2)


def shapes(sizes: Sizes) -> Named:
    """Yields the names and shapes of OpenAI's state dict."""
    yield from _vit(sizes) if sizes.patch else _resnet(sizes)
    yield "positional_embedding", (77, sizes.text_width)
    yield "text_projection", (sizes.text_width, sizes.dim)
    yield "logit_scale", ()
    yield "token_embedding.weight", (49408, sizes.text_width)
    yield from _blocks("transformer", sizes.text_width, sizes.text_layers)
    yield from _norm("ln_final", sizes.text_width)


def _norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _batch_norm(name: str, width: int) -> Named:
    yield from _norm(name, width)
    yield f"{name}.running_mean", (width,)
    yield f"{name}.running_var", (width,)
    yield f"{name}.num_batches_tracked", ()


def _linear(name: str, inputs: int, outputs: int) -> Named:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _blocks(name: str, width: int, layers: int) -> Named:
    for layer in range(layers):
        block = f"{name}.resblocks.{layer}"
        yield f"{block}.attn.in_proj_weight", (3 * width, width)
        yield f"{block}.attn.in_proj_bias", (3 * width,)
        yield from _linear(f"{block}.attn.out_proj", width, width)
        yield from _norm(f"{block}.ln_1", width)
        yield from _linear(f"{block}.mlp.c_fc", width, 4 * width)
        yield from _linear(f"{block}.mlp.c_proj", 4 * width, width)
        yield from _norm(f"{block}.ln_2", width)


def _vit(sizes: Sizes) -> Named:
    assert sizes.patch
    width, grid = sizes.width, sizes.resolution // sizes.patch
    yield "visual.class_embedding", (width,)
    yield "visual.positional_embedding", (grid * grid + 1, width)
    yield "visual.proj", (width, sizes.dim)
    yield "visual.conv1.weight", (width, 3, sizes.patch, sizes.patch)
    yield from _norm("visual.ln_pre", width)
    yield from _blocks("visual.transformer", width, sizes.layers[0])
    yield from _norm("visual.ln_post", width)


def _convolution(name: str, number: int, inputs: int, outputs: int, kernel: int) -> Named:
    yield f"{name}conv{number}.weight", (outputs, inputs, kernel, kernel)
    yield from _batch_norm(f"{name}bn{number}", outputs)


def _resnet(sizes: Sizes) -> Named:
    width, half = sizes.width, sizes.width // 2
    yield from _convolution("visual.", 1, 3, half, 3)
    yield from _convolution("visual.", 2, half, half, 3)
    yield from _convolution("visual.", 3, half, width, 3)
    inputs = width
    for stage, blocks in enumerate(sizes.layers):
        planes = width * 2**stage
        for block in range(blocks):
            name = f"visual.layer{stage + 1}.{block}."
            yield from _convolution(name, 1, inputs, planes, 1)
            yield from _convolution(name, 2, planes, planes, 3)
            yield from _convolution(name, 3, planes, 4 * planes, 1)
            if block == 0:
                yield f"{name}downsample.0.weight", (4 * planes, inputs, 1, 1)
                yield from _batch_norm(f"{name}downsample.1", 4 * planes)
            inputs = 4 * planes
    yield "visual.attnpool.positional_embedding", ((sizes.resolution // 32) ** 2 + 1, inputs)
    for projection in ("k_proj", "q_proj", "v_proj"):
        yield from _linear(f"visual.attnpool.{projection}", inputs, inputs)
    yield from _linear("visual.attnpool.c_proj", inputs, sizes.dim)


def random_state(sizes: Sizes, seed: int = 0) -> State:
    """Returns random weights with OpenAI's names and shapes, float32."""
    random = torch.Generator().manual_seed(seed)
    return {name: _random(name, shape, random) for name, shape in shapes(sizes)}


def _random(name: str, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.tensor(7)
    noise = torch.randn(shape, generator=random)
    if last == "logit_scale":
        return noise + 4
    if last == "running_var" or (last == "weight" and len(shape) == 1):
        return 1 + 0.2 * noise.clamp(-2, 2)
    if len(shape) < 2:
        return 0.1 * noise
    if len(shape) == 4:  # a convolution: [outputs, inputs, k, k]
        return noise * (1.5 / (shape[1] * shape[2] * shape[3])) ** 0.5
    fan_in = shape[1] if last in ("weight", "in_proj_weight") and "embedding" not in name else shape[0]
    return noise * (0.3 if "embedding" in name else fan_in**-0.5)


# ---------------------------------------------------------------------------------------------------------------------
# the forward


def image_features(state: State, pixels: Tensor) -> Tensor:
    """Encodes uint8 pixels [B, 3, S, S] to raw features [B, d]; normalizes with CLIP's mean and standard deviation."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    x = (pixels / 255.0 - mean) / std
    return _encode_vit(state, x) if "visual.proj" in state else _encode_resnet(state, x)


def text_features(state: State, tokens: Tensor) -> Tensor:
    """Encodes token ids [B, 77] to raw features [B, d], read at the end token, which has the largest id."""
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"]
    future = torch.ones(77, 77, dtype=torch.bool).triu(1)
    x = _layer_norm(state, "ln_final", _transformer(state, "transformer", x, future))
    return x[torch.arange(len(x)), tokens.argmax(dim=1)] @ state["text_projection"]


def _layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    unit = centred / ((centred**2).mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return unit * state[f"{name}.weight"] + state[f"{name}.bias"]


def _apply(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Multi-head attention with head width 64; q [B, N, w], k and v [B, M, w]; `hidden` [N, M] is masked out."""
    batch, width = q.shape[0], q.shape[-1]
    q, k, v = (part.reshape(batch, -1, width // 64, 64).transpose(1, 2) for part in (q, k, v))
    scores = q @ k.transpose(2, 3) / 8.0
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, -1, width)


def _transformer(state: State, name: str, x: Tensor, hidden: Tensor | None = None) -> Tensor:
    for layer in range(sum(key.startswith(f"{name}.resblocks.") and key.endswith("in_proj_bias") for key in state)):
        block = f"{name}.resblocks.{layer}"
        inner = _layer_norm(state, f"{block}.ln_1", x)
        projected = inner @ state[f"{block}.attn.in_proj_weight"].T + state[f"{block}.attn.in_proj_bias"]
        x = x + _apply(state, f"{block}.attn.out_proj", _attend(*projected.chunk(3, dim=-1), hidden))
        wide = _apply(state, f"{block}.mlp.c_fc", _layer_norm(state, f"{block}.ln_2", x))
        x = x + _apply(state, f"{block}.mlp.c_proj", wide * (1.702 * wide).sigmoid())  # QuickGELU
    return x


def _encode_vit(state: State, x: Tensor) -> Tensor:
    patches = torch.nn.functional.conv2d(x, state["visual.conv1.weight"], stride=state["visual.conv1.weight"].shape[-1])
    patches = patches.flatten(2).transpose(1, 2)
    first = state["visual.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([first, patches], dim=1) + state["visual.positional_embedding"]
    x = _transformer(state, "visual.transformer", _layer_norm(state, "visual.ln_pre", x))
    return _layer_norm(state, "visual.ln_post", x[:, 0]) @ state["visual.proj"]


def _convolve(state: State, name: str, number: int, x: Tensor, stride: int = 1) -> Tensor:
    kernel = state[f"{name}conv{number}.weight"]
    x = torch.nn.functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    return _normalised(state, f"{name}bn{number}", x)


def _normalised(state: State, name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def _halved(x: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(x, 2)


def _encode_resnet(state: State, x: Tensor) -> Tensor:
    for number in (1, 2, 3):
        x = _convolve(state, "visual.", number, x, 2 if number == 1 else 1).relu()
    x = _halved(x)
    for stage in (1, 2, 3, 4):
        blocks = {key.split(".")[2] for key in state if key.startswith(f"visual.layer{stage}.")}
        for block in range(len(blocks)):
            x = _bottleneck(state, f"visual.layer{stage}.{block}.", x, halve=stage > 1 and block == 0)
    tokens = x.flatten(2).transpose(1, 2)
    pool = "visual.attnpool"
    tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + state[f"{pool}.positional_embedding"]
    q, k, v = (_apply(state, f"{pool}.{part}_proj", tokens) for part in "qkv")
    return _apply(state, f"{pool}.c_proj", _attend(q[:, :1], k, v))[:, 0]


def _bottleneck(state: State, name: str, x: Tensor, halve: bool) -> Tensor:
    inner = _convolve(state, name, 1, x).relu()
    inner = _convolve(state, name, 2, inner).relu()
    inner = _convolve(state, name, 3, _halved(inner) if halve else inner)
    if f"{name}downsample.0.weight" in state:
        x = torch.nn.functional.conv2d(_halved(x) if halve else x, state[f"{name}downsample.0.weight"])
        x = _normalised(state, f"{name}downsample.1", x)
    return (x + inner).relu()
