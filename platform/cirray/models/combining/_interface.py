"""The interface of combining functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class CombiningFunction(nn.Module, ABC):
    """Combines raw image and text features to unit query features.

    Shapes: B queries, d feature width.

    Attributes:
        has_text_weight: whether the query contains a convex combination of text and image, whose text weight can be
            read and set.
    """

    has_text_weight: ClassVar[bool]

    @abstractmethod
    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Combines raw features; also returns the text weights.

        Args:
            image: raw image features [B, d].
            text: raw text features [B, d].
            text_weight: [B, 1], replaces the text weights that the function computes.

        Returns:
            Unit query features [B, d], and the text weights [B, 1]; None if the function has none.

        Raises:
            ValueError: `text_weight` is given, and the function has none.
        """

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Combines raw features [B, d] to unit query features [B, d]."""
        return self.compose(image, text)[0]

    def is_trainable(self) -> bool:
        """Whether there are parameters to train."""
        return next(self.parameters(), None) is not None

    def _refuse_text_weight(self, text_weight: Tensor | None) -> None:
        if text_weight is not None:
            raise ValueError(f"{type(self).__name__} has no text weight to set")


class WithAuxiliaryLoss(CombiningFunction):
    """A combining function whose training has a second loss, which may look at the target images.

    Stage 2 adds the contrastive loss between the two features that `auxiliary` returns, over the global batch and at
    the temperature of its own loss. Searches never call `auxiliary`.
    """

    @abstractmethod
    def auxiliary(self, image: Tensor, text: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Returns two features of each triplet that should agree, and differ from those of other triplets.

        Triplets with equal captions are no negatives of each other.

        Args:
            image: raw features of the reference images [B, d].
            text: raw features of the relative captions [B, d].
            target: raw features of the target images [B, d].

        Returns:
            Unit features [B, e], and the unit features [B, e] to which they are compared.
        """
