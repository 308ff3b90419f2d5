"""The served model, for the ingress: converts picture files and queries to features that fit the generation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cirray.index.backend import Generation
from serve.encoder_types import ComposedInput, EncodedQuery, ModelInfo, QueryEncoder, RerankInput
from serve.errors import ModelChangedError
from serve.uploads import Uploads


@dataclass
class ServedModel:
    """The model that the encoders serve.

    Attributes:
        encoder: the encoder replicas.
        uploads: decodes picture files.
        info: description of the model as of the last `refresh`.
    """

    encoder: QueryEncoder
    uploads: Uploads
    info: ModelInfo

    async def refresh(self) -> None:
        """Updates `info` from the encoders."""
        self.info = await self.encoder.info()

    async def pixels(self, content: bytes, name: str) -> np.ndarray:
        """Returns the pixels of a picture file for the image tower, uint8 [3, S, S].

        Raises:
            PictureError: the file is not a picture, or is too large; the message calls it `name`.
        """
        return await self.uploads.decode(content, name, self.info.size, self.info.preprocess)

    async def encode_image(self, content: bytes, name: str, generation: Generation) -> np.ndarray:
        """Returns the raw image feature [d] of a picture file. Raises as `pixels` and `encode_query`."""
        encoded = await self.encoder.encode_image(await self.pixels(content, name))
        _check_image_tower(encoded.image_fingerprint, generation)
        return encoded.feature

    async def encode_query(self, query: ComposedInput, generation: Generation) -> EncodedQuery:
        """Returns the query feature. A stored feature alone is normalized here, without a call of an encoder.

        Raises:
            BusyError: the encoders' queue is full.
            ModelChangedError: the model has another image tower than the generation.
        """
        only = query.wanted[0] if len(query.wanted) == 1 and not query.unwanted else None
        if only is not None and only.feature is not None and only.text is None:
            unit = only.feature / np.linalg.norm(only.feature)
            return EncodedQuery(unit, None, self.info.name, generation.image_fingerprint)
        encoded = await (self.encoder.encode_composition(query) if only is None else self.encoder.encode_query(only))
        _check_image_tower(encoded.image_fingerprint, generation)
        return encoded

    async def rerank(self, query: EncodedQuery, candidates: np.ndarray) -> np.ndarray:
        """Returns the reranker's scores [K] of candidates, raw image features [K, d], for a composed query.

        Raises:
            BusyError: the encoders' queue is full.
            ModelChangedError: another bundle has taken over since the query was encoded.
        """
        assert query.image is not None and query.text is not None
        found = await self.encoder.rerank(RerankInput(query.image, query.text, query.feature, candidates))
        if found.model != query.model or found.scores is None:
            raise ModelChangedError("the model was replaced during this search: try again")
        return found.scores


def _check_image_tower(image_fingerprint: str, generation: Generation) -> None:
    """Refuses a feature of another image tower than the generation's: its scores would be meaningless."""
    if image_fingerprint != generation.image_fingerprint:
        raise ModelChangedError("the model was replaced by one that does not fit the index: try again later")
