"""What the queries of stage 2 are told from. Targets are frozen, so any image costs a row look-up and a product.

Shapes: I images, B triplets of the global batch, b of this worker, N images of the train gallery, H hard negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cirray.config.schema import GalleryContrast
from cirray.data.table import TripletTable
from cirray.evaluation.ranking import places, top_k


@dataclass(frozen=True, slots=True)
class Contrasted:
    """What one batch is scored against; the arguments of `contrastive_loss` of the same names."""

    target: Tensor
    positives: Tensor
    target_ids: Tensor | None
    hard: Tensor | None


class Negatives:
    """Chooses what each batch is scored against.

    Args:
        settings: which negatives.
        train: the triplets, and the gallery that they may use.
        images: unit image features [I, d].
    """

    def __init__(self, settings: GalleryContrast, train: TripletTable, images: Tensor) -> None:
        self._settings = settings
        self._images = images
        self._wanted = train.target
        self._gallery = train.gallery.to(images.device)
        self._mined: Tensor | None = None
        self._bank: Tensor | None = None
        if settings.negatives == "gallery" or settings.hard:
            self._bank = images[self._gallery]
            self._place = places(train.gallery, len(images))

    @property
    def mines(self) -> bool:
        """Whether `mine` shall be called before every epoch."""
        return self._settings.hard > 0

    def mine(self, query: Tensor) -> None:
        """Finds each triplet's hard negatives, the best-ranked wrong images, by its query feature of now [T, d]."""
        assert self._bank is not None
        most = len(self._gallery) - 1  # all but the target
        wanted = self._place[self._wanted].to(query.device)
        _, found = top_k(query, self._bank, min(self._settings.hard, most), wanted)
        self._mined = self._gallery[found]

    def of(self, rows: Tensor, share: slice) -> Contrasted:
        """Returns what the triplets `rows` [B] of a batch are scored against, for this worker's `share` of them."""
        wanted, device = self._wanted[rows], self._images.device
        if self._bank is not None and self._settings.negatives == "gallery":
            return Contrasted(self._bank, self._place[wanted[share]].to(device), None, None)
        targets = wanted.to(device)
        hard = None if self._mined is None else self._images[self._mined[rows[share].to(device)]]
        return Contrasted(
            self._images[targets],
            torch.arange(share.start, share.stop, device=device),
            targets if self._settings.mask_duplicates else None,
            hard,
        )
