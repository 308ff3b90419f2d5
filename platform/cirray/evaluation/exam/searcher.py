"""Ranks the gallery of an exam with a model and one combining function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cirray.evaluation.ranking import top_k
from cirray.models.bundle import Model
from cirray.models.combining import CombiningFunction

_BATCH = 256


class Captions:
    """Features of relative captions and of unwanted texts, each encoded once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._captions: dict[str, Tensor] = {}
        self._unwanted: dict[str, Tensor] = {}

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Returns raw features of relative captions [N, d]."""
        return _rows(captions, self._captions, lambda batch: self._model.encode_caption(batch, normalize=False))

    def unwanted(self, texts: Sequence[str]) -> Tensor:
        """Returns unit directions of unwanted texts [N, d]."""
        return _rows(texts, self._unwanted, self._model.encode_unwanted)


def _rows(texts: Sequence[str], known: dict[str, Tensor], encode: Callable[[Sequence[str]], Tensor]) -> Tensor:
    """Returns the features of texts [N, d]; encodes those that are not known yet in batches."""
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        known.update(zip(batch, encode(batch).cpu(), strict=True))
    return torch.stack([known[text] for text in texts])


class Searcher:
    """Ranks a gallery of I items. Rows are those of the gallery.

    Args:
        ids: the ids of the gallery.
        images: their raw image features [I, d].
        captions: encodes the captions.
        combine: the combining function.
    """

    def __init__(self, ids: Sequence[str], images: Tensor, captions: Captions, combine: CombiningFunction) -> None:
        self.ids = tuple(ids)
        self.row = {identifier: row for row, identifier in enumerate(ids)}
        self._images = images.cpu()
        self._gallery = F.normalize(self._images, dim=-1)
        self._captions = captions
        self._combine = combine.cpu().eval()

    @torch.inference_mode()
    def queries(self, references: Sequence[str], captions: Sequence[str]) -> Tensor:
        """Returns unit query features [Q, d]."""
        rows = [self.row[reference] for reference in references]
        combined: Tensor = self._combine(self._images[rows], self._captions.encode(captions))
        return combined

    def unwanted(self, texts: Sequence[str]) -> Tensor:
        """Returns unit directions of unwanted texts [N, d]."""
        return self._captions.unwanted(texts)

    def image(self, identifier: str) -> Tensor:
        """Returns the unit image feature of an item [d]."""
        return self._gallery[self.row[identifier]]

    def rank(self, queries: Tensor, excluded: Sequence[str] | None = None) -> NDArray[np.int64]:
        """Returns the whole gallery in the order of each query's ranking, rows int64 [Q, I].

        Args:
            queries: unit query features [Q, d].
            excluded: an id for each query to be ranked last, such as its reference.
        """
        exclude = None if excluded is None else torch.tensor([self.row[identifier] for identifier in excluded])
        rows: NDArray[np.int64] = top_k(queries, self._gallery, len(self.ids), exclude)[1].numpy()
        return rows

    def order(
        self, references: Sequence[str], captions: Sequence[str], excluded: Sequence[str] | None = None
    ) -> NDArray[np.int64]:
        """Returns the whole gallery in the order of the ranking of each query of one reference, rows int64 [Q, I].

        Args:
            references, captions: of each query.
            excluded: as in `rank`.
        """
        return self.rank(self.queries(references, captions), excluded)

    def search(self, references: Sequence[str], captions: Sequence[str]) -> list[list[str]]:
        """Returns the ranked ids of queries without their references, as the service does."""
        order = self.order(references, captions, references)
        return [[self.ids[row] for row in rows] for rows in order[:, :-1]]


def ranks_of(order: NDArray[np.int64], rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Returns the ranks of some rows in each query's ranking, int64 [Q, P], padded with -1.

    Args:
        order: int64 [Q, I], the rows of the gallery, best first.
        rows: for each query the rows to look up.
    """
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    found = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int64)
    for query, members in enumerate(rows):
        found[query, : len(members)] = rank[query, list(members)]
    return found
