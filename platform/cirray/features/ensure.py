"""Computes the features that are missing in the feature store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from cirray.config.compute import Embedding
from cirray.data.records import Dataset
from cirray.data.table import TripletTable
from cirray.features.embed import EmbedImages, EmbedTexts, text_key
from cirray.features.fill import fill
from cirray.features.frozen import FrozenFeatures, read_features
from cirray.features.store import FeatureStore
from cirray.models.encoder_manifest import read_manifest
from cirray.storage.location import Location


@dataclass(frozen=True, slots=True)
class Embedder:
    """Fills the feature store with the features of one encoder.

    Attributes:
        encoder: the encoder; `encoder.local` must exist on this machine.
        store: the feature store.
        settings: batch and shard sizes.
        actors: maximum number of Ray actors; small jobs run in the driver instead.
        gpu: whether to embed on GPUs, one per actor.
    """

    encoder: Location
    store: Location
    settings: Embedding
    actors: int
    gpu: bool

    def images(self, pictures: Mapping[str, str]) -> FeatureStore:
        """Computes missing image features; returns their store.

        Args:
            pictures: content key -> picture file, as `pictures_of` returns them.
        """
        store = FeatureStore(self.store, "image", read_manifest(self.encoder.local)["image_fingerprint"])
        make = partial(EmbedImages, self.encoder, self._device)
        inline = self.settings.inline_pictures
        fill(store, pictures, make, self.settings, self.actors, "image features", inline, float(self.gpu))
        return store

    def texts(self, captions: Sequence[str]) -> FeatureStore:
        """Computes missing caption features, shortest captions first; returns their store."""
        store = FeatureStore(self.store, "text", read_manifest(self.encoder.local)["text_fingerprint"])
        items = {text_key(caption): caption for caption in sorted(captions, key=lambda text: (len(text), text))}
        make = partial(EmbedTexts, self.encoder, self._device)
        inline = self.settings.inline_captions
        fill(store, items, make, self.settings, self.actors, "caption features", inline, float(self.gpu))
        return store

    def features(self, dataset: Dataset, tables: Mapping[str, TripletTable]) -> FrozenFeatures:
        """Computes missing features; returns those of a dataset's images and of the tables' captions.

        Args:
            dataset: the images.
            tables: name -> triplet table whose captions are needed.
        """
        images = self.images(pictures_of(dataset))
        texts = self.texts([caption for table in tables.values() for caption in table.captions])
        return read_features(images, texts, image_keys(dataset), tables)

    @property
    def _device(self) -> str:
        return "cuda" if self.gpu else "cpu"


def image_keys(dataset: Dataset) -> tuple[str, ...]:
    """Returns the content key of each row of a dataset's image table."""
    return tuple(dataset.contents[image] for image in dataset.images)


def pictures_of(dataset: Dataset) -> dict[str, str]:
    """Returns a dataset's pictures as content key -> picture file."""
    return {dataset.contents[image]: str(path) for image, path in dataset.images.items()}
