"""Negative sampling for stage 2. Image features are frozen, so any image is a negative without being encoded.

Shapes: I images, T train triplets, B triplets of the global batch, b of this worker, N images of the train gallery, H
hard negatives per query.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cirray.config.training import GalleryLoss
from cirray.data.table import TripletTable
from cirray.evaluation.ranking import gallery_positions, top_k


@dataclass(frozen=True, slots=True)
class BatchNegatives:
    """The candidates of one batch: arguments of `contrastive_loss` with the same names.

    Attributes:
        target: unit image features [B or N, d]; each query's target and its negatives.
        positives: int64 [b], row of each query's target in `target`.
        target_ids: int64 [B], image row of each row of `target`, to mask duplicates; None masks none.
        hard: unit image features [b, H, d] of each query's hard negatives; None if there are none.
    """

    target: Tensor
    positives: Tensor
    target_ids: Tensor | None
    hard: Tensor | None


class NegativeSampler:
    """Chooses the negatives of each batch.

    Args:
        settings: the kind of negatives.
        train: the T triplets, and the train gallery.
        images: unit-length image features [I, d].
    """

    def __init__(self, settings: GalleryLoss, train: TripletTable, images: Tensor) -> None:
        self._settings = settings
        self._images = images
        self._targets = train.target
        self._gallery = train.gallery.to(images.device)
        self._mined: Tensor | None = None
        self._gallery_features: Tensor | None = None
        if settings.negatives == "gallery" or settings.hard:
            self._gallery_features = images[self._gallery]
            self._position = gallery_positions(train.gallery, len(images))

    @property
    def needs_mining(self) -> bool:
        """Whether `mine` must be called before every epoch."""
        return self._settings.hard > 0

    def mine(self, query: Tensor) -> None:
        """Mines each triplet's hard negatives: the best-ranked images of the gallery except its target.

        Args:
            query: current query features [T, d].
        """
        assert self._gallery_features is not None
        available = len(self._gallery) - 1  # all but the target
        target_positions = self._position[self._targets].to(query.device)
        _, mined = top_k(query, self._gallery_features, min(self._settings.hard, available), target_positions)
        self._mined = self._gallery[mined]

    def for_batch(self, rows: Tensor, share: slice) -> BatchNegatives:
        """Returns the negatives of a batch.

        Args:
            rows: int64 [B], triplets of the global batch.
            share: this worker's part of them.
        """
        batch_targets, device = self._targets[rows], self._images.device
        if self._gallery_features is not None and self._settings.negatives == "gallery":
            positives = self._position[batch_targets[share]].to(device)
            return BatchNegatives(self._gallery_features, positives, None, None)
        targets = batch_targets.to(device)
        hard = None if self._mined is None else self._images[self._mined[rows[share].to(device)]]
        return BatchNegatives(
            self._images[targets],
            torch.arange(share.start, share.stop, device=device),
            targets if self._settings.mask_duplicates else None,
            hard,
        )
