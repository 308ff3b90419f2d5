"""Exact forward pass of causal text towers on batches truncated to their longest caption.

In a causal tower no position attends to later ones, and the text feature is read at the end token. Padding after the
longest caption of a batch therefore cannot change any feature, and is not computed. Towers that are not causal, pool
elsewhere or append a class token (CoCa, SigLIP, Hugging Face models) are detected and run on the full context.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import TextTransformer, text_global_pool
from torch import Tensor, nn


class CausalTextTower:
    """A causal open_clip text tower, truncated to the longest caption of each batch.

    Args:
        parts: the module that holds the tower's layers: a CLIP, or the `text` of a CustomTextCLIP.
        pool: how the tower pools: "argmax", "eos" or "first".
        end_token: id of the end token, for "eos".
    """

    def __init__(self, parts: Any, pool: str, end_token: int | None) -> None:
        self.parts = parts
        self.pool = pool
        self.end_token = end_token

    def longest(self, tokens: Tensor) -> int:
        """Returns the number of leading positions of tokens, int64 [B, L], up to the last end token of any row."""
        if self.pool == "first" or not len(tokens):
            return 1
        is_end = tokens.eq(self.end_token or 0).int() if self.pool == "eos" else tokens
        return int(is_end.argmax(dim=-1).max()) + 1

    def __call__(self, tokens: Tensor) -> Tensor:
        """Encodes token ids, int64 [B, L], to raw features [B, d], computing only the first `longest` positions."""
        parts = self.parts
        tokens = tokens[:, : self.longest(tokens)]
        length = tokens.shape[1]
        dtype = parts.transformer.get_cast_dtype()
        x = parts.token_embedding(tokens).to(dtype) + parts.positional_embedding[:length].to(dtype)
        x = parts.transformer(x, attn_mask=parts.attn_mask[:length, :length])
        x = parts.ln_final(x)
        x = text_global_pool(x, tokens, self.pool, eos_token_id=self.end_token)
        projection = parts.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Linear) else x @ projection


def causal_text_tower(clip: Any) -> CausalTextTower | None:
    """Returns the truncating text tower of an open_clip model; None if truncation would not be exact."""
    text = getattr(clip, "text", None)
    if text is None and hasattr(clip, "text_pool_type"):
        tower = CausalTextTower(clip, clip.text_pool_type, getattr(clip, "text_eos_id", None))
    elif isinstance(text, TextTransformer) and text.cls_emb is None and not text.use_pad_mask:
        tower = CausalTextTower(text, text.pool_type, text.eos_id)
    else:
        return None
    pools_at_end = tower.pool in ("argmax", "eos", "first")
    return tower if pools_at_end and _is_causal(getattr(tower.parts, "attn_mask", None)) else None


def _is_causal(mask: Tensor | None) -> bool:
    if mask is None or mask.dim() != 2:
        return False
    future = torch.ones_like(mask, dtype=torch.bool).triu(1)
    return bool((mask[future] == float("-inf")).all() and (mask[~future] == 0).all())
