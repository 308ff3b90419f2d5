"""Frozen features in memory, for stage 2, evaluation, tuning and the study."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cirray.data.table import TripletTable
from cirray.features.embed import text_key
from cirray.features.store import FeatureStore


@dataclass(frozen=True, slots=True)
class FrozenFeatures:
    """The features, of width d, of a dataset's I images and of the captions of some of its triplet tables.

    They are pickled as NumPy arrays, which Ray's object store maps into every process read-only, without a copy.

    Attributes:
        images: raw image features, float32 [I, d]; rows as in the image table.
        unit_images: the same features at unit length, [I, d]: the gallery features.
        captions: table name -> raw features, float32 [V, d], of the table's V `captions`.
    """

    images: Tensor
    unit_images: Tensor
    captions: Mapping[str, Tensor]

    @classmethod
    def of(cls, images: Tensor, captions: Mapping[str, Tensor]) -> FrozenFeatures:
        """Builds the features from raw image features [I, d] and raw caption features [V, d] by table name."""
        return cls(images, F.normalize(images, dim=-1), captions)

    def query_inputs(self, name: str, table: TripletTable) -> tuple[Tensor, Tensor]:
        """Returns the inputs of a combining function for the T queries of a table.

        Args:
            name: name of the table in `captions`.
            table: the table.

        Returns:
            Raw features of the reference images [T, d] and of the captions [T, d].
        """
        return self.images[table.reference], self.captions[name][table.query]

    def to(self, device: torch.device) -> FrozenFeatures:
        """Returns the features on a device; nothing is copied if they are there already."""
        captions = {name: tensor.to(device) for name, tensor in self.captions.items()}
        return FrozenFeatures(self.images.to(device), self.unit_images.to(device), captions)

    @property
    def nbytes(self) -> int:
        """Total size of all tensors in bytes."""
        return sum(tensor.nbytes for tensor in (self.images, self.unit_images, *self.captions.values()))

    def __reduce__(self) -> tuple[Callable[..., FrozenFeatures], tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
        arrays = {name: tensor.cpu().numpy() for name, tensor in self.captions.items()}
        return _from_arrays, (self.images.cpu().numpy(), self.unit_images.cpu().numpy(), arrays)


def read_features(
    images: FeatureStore, texts: FeatureStore, image_keys: Sequence[str], tables: Mapping[str, TripletTable]
) -> FrozenFeatures:
    """Reads features from stores that have them all.

    Args:
        images: store of the image tower's features.
        texts: store of the text tower's features.
        image_keys: content key of each row of the image table.
        tables: name -> triplet table whose captions are needed.

    Raises:
        StoreError: a row is missing, or a shard is damaged.
    """
    captions = {name: texts.read([text_key(text) for text in table.captions]) for name, table in tables.items()}
    return FrozenFeatures.of(images.read(image_keys), captions)


def _from_arrays(images: np.ndarray, unit_images: np.ndarray, captions: Mapping[str, np.ndarray]) -> FrozenFeatures:
    tensors = {name: _tensor(array) for name, array in captions.items()}
    return FrozenFeatures(_tensor(images), _tensor(unit_images), tensors)


def _tensor(array: np.ndarray) -> Tensor:
    """Returns a tensor that shares the memory of an array in the object store. It must not be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)
