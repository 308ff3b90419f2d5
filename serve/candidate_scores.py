"""The forward pass of the reranker over the candidates of one query."""

from __future__ import annotations

from serve.encoder_types import RerankInput, RerankScores
from serve.loaded_bundle import Loaded


def score_candidates(bundle: Loaded, query: RerankInput) -> RerankScores:
    """Returns the scores of a query's candidates; None in their place if the bundle has no reranker."""
    import torch

    reranker = bundle.model.reranker
    if reranker is None:
        return RerankScores(None, bundle.info.name)
    device = bundle.model.device
    with torch.inference_mode():
        parts = (query.image, query.text, query.query, query.candidates)
        scores = reranker.score(*(torch.tensor(part, device=device).unsqueeze(0) for part in parts))
    return RerankScores(scores[0].float().cpu().numpy(), bundle.info.name)
