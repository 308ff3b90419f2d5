"""Ranks the gallery of an exam, and reranks the first items of each query of one reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cirray.evaluation.exam.searcher import Captions, Searcher
from cirray.evaluation.reranked import RerankedTop
from cirray.models.combining import CombiningFunction

_BATCH = 256


class RerankingSearcher(Searcher):
    """A searcher with a second stage. `rank`, which knows only query features, does not rerank.

    Args:
        ids, images, captions, combine: as in `Searcher`.
        second: the second stage.
    """

    def __init__(
        self,
        ids: Sequence[str],
        images: Tensor,
        captions: Captions,
        combine: CombiningFunction,
        second: RerankedTop,
    ) -> None:
        super().__init__(ids, images, captions, combine)
        self._second = second

    @torch.inference_mode()
    def order(
        self, references: Sequence[str], captions: Sequence[str], excluded: Sequence[str] | None = None
    ) -> NDArray[np.int64]:
        """See `Searcher`. The order of the items after the first K is that of the first stage."""
        queries = self.queries(references, captions)
        order = torch.from_numpy(self.rank(queries, excluded))
        image, text = self._images[[self.row[reference] for reference in references]], self._captions.encode(captions)
        top = order[:, : self._second.top]
        scores = torch.zeros(top.shape)  # the first stage's order is known, so only exclusion matters
        if excluded is not None:
            hidden = torch.tensor([self.row[identifier] for identifier in excluded])
            scores = scores.masked_fill(top == hidden.unsqueeze(1), float("-inf"))
        for part in torch.arange(len(queries)).split(_BATCH):
            new = self._second.order(image[part], text[part], queries[part], self._images[top[part]], scores[part])
            order[part, : top.shape[1]] = top[part].gather(1, new)
        rows: NDArray[np.int64] = order.numpy()
        return rows
