"""Negative sampling for stage 2. Targets are frozen, so any image costs a row lookup and a product.

Shapes: I images, B triplets of the global batch, b of this worker, N images of the train gallery, H hard negatives.
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
    """The negatives of one batch: the arguments of `contrastive_loss` of the same names."""

    target: Tensor
    positives: Tensor
    target_ids: Tensor | None
    hard: Tensor | None


class NegativeSampler:
    """Chooses the negatives of each batch.

    Args:
        settings: which negatives.
        train: the triplets, and the gallery that they may use.
        images: unit image features [I, d].
    """

    def __init__(self, settings: GalleryLoss, train: TripletTable, images: Tensor) -> None:
        self._settings = settings
        self._images = images
        self._wanted = train.target
        self._gallery = train.gallery.to(images.device)
        self._mined: Tensor | None = None
        self._bank: Tensor | None = None
        if settings.negatives == "gallery" or settings.hard:
            self._bank = images[self._gallery]
            self._position = gallery_positions(train.gallery, len(images))

    @property
    def mines(self) -> bool:
        """Whether `mine` shall be called before every epoch."""
        return self._settings.hard > 0

    def mine(self, query: Tensor) -> None:
        """Finds each triplet's hard negatives, the best-ranked wrong images, by its query feature of now [T, d]."""
        assert self._bank is not None
        most = len(self._gallery) - 1  # all but the target
        wanted = self._position[self._wanted].to(query.device)
        _, found = top_k(query, self._bank, min(self._settings.hard, most), wanted)
        self._mined = self._gallery[found]

    def of(self, rows: Tensor, share: slice) -> BatchNegatives:
        """Returns the negatives of the triplets `rows` [B], for this worker's `share` of them."""
        wanted, device = self._wanted[rows], self._images.device
        if self._bank is not None and self._settings.negatives == "gallery":
            return BatchNegatives(self._bank, self._position[wanted[share]].to(device), None, None)
        targets = wanted.to(device)
        hard = None if self._mined is None else self._images[self._mined[rows[share].to(device)]]
        return BatchNegatives(
            self._images[targets],
            torch.arange(share.start, share.stop, device=device),
            targets if self._settings.mask_duplicates else None,
            hard,
        )
