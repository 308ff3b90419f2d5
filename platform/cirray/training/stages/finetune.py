"""Stage 1: fine-tune CLIP so that image + text lands on the target (paper section 3.1).

With `encoder = text` the image tower is frozen: reference and target features come from the feature store, on every
worker alike, so the global negatives need no exchange. With `image` or `both` each worker encodes its own pictures and
gathers the targets of all, with gradients.

A reference is the image that looks most like the target of its query, so the references of a batch are hard negatives
that cost nothing (`loss.negatives = references`): they are encoded, or looked up, for the queries anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.cluster.worker import Worker
from cirray.data.table import TripletTable
from cirray.evaluation.cosine import CosineRetriever
from cirray.features.embed import pixels_fingerprint
from cirray.features.store import FeatureStore
from cirray.models.clip import load_encoder
from cirray.models.combining.sum import Sum
from cirray.models.encoder_manifest import MANIFEST
from cirray.models.losses import Temperature, contrastive_loss
from cirray.training.gradcache import Features, backward_in_chunks
from cirray.training.sampling import Batch
from cirray.training.task import StageInputs, Task, Validation

ENCODE_BATCH = 256


class FineTuneTask(Task):
    """CLIP with the sum of raw features as the query; cross-entropy query -> target over the global batch."""

    def __init__(self, inputs: StageInputs, worker: Worker) -> None:
        settings = inputs.config.stage1
        self.worker = worker
        self.settings = settings
        self.inputs = inputs
        self.encoder = load_encoder(inputs.encoder.fetch(MANIFEST), worker.device)
        self.encoder.requires_grad_(False)
        for tower in ("image", "text"):
            if settings.encoder in (tower, "both"):
                for _, parameter in self.encoder.tower_parameters(tower):
                    parameter.requires_grad_(True)
        if settings.gradient_checkpointing:
            self.encoder.clip.set_grad_checkpointing(True)
        self.trains_images = settings.encoder != "text"
        self.against_references = settings.loss.negatives == "references"
        self.temperature = Temperature(settings.loss.temperature, settings.loss.learn_temperature)
        self.temperature.to(worker.device)
        self.combine = Sum()
        self.train_tokens = self.encoder.tokenize(inputs.train.captions)
        self.val_tokens = self.encoder.tokenize(inputs.val.captions)
        self.examples = len(inputs.train)
        self._open_store()

    def _open_store(self) -> None:
        root = self.inputs.store
        if self.trains_images:
            size, preprocess = self.encoder.image_input.size, self.encoder.preprocess
            self.pixels = FeatureStore(root, "pixels", pixels_fingerprint(size, preprocess))
        else:
            store = FeatureStore(root, "image", self.encoder.fingerprint("image"))
            self.images = store.read(self.inputs.image_keys).to(self.worker.device)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"clip": self.encoder.clip, "temperature": self.temperature}

    def backward(self, batch: Batch, grad_scale: Callable[[Tensor], Tensor]) -> Tensor:
        share = self.worker.share(len(batch))
        train, device = self.inputs.train, self.worker.device
        mine = batch.rows[share]
        captions = [draw_variant(train.variants[row], draw) for row, draw in _pairs(mine, batch.draws[share])]
        tokens = self.train_tokens[captions].to(device)
        positives = torch.arange(share.start, share.stop, device=device)
        images = [train.target[batch.rows]]  # what all queries are told from, image rows, in the order of the loss
        if self.against_references:
            images.append(train.reference[batch.rows])
        told = torch.cat(images).to(device)
        masks = self.settings.loss.mask_duplicates or self.against_references
        counts = self.worker.shares(len(batch))

        def encode(rows: slice) -> Features:
            if not len(mine):
                return tuple(self._nothing() for _ in range(1 + len(images) * self.trains_images))
            with self.worker.autocast():
                text = self.encoder.encode_text(tokens[rows])
                reference = self._image(train.reference[mine[rows]])
                query = self.combine(reference.float(), text.float())
                if not self.trains_images:
                    return (query,)
                target = self._image(train.target[mine[rows]])
                encoded = [target, reference] if self.against_references else [target]
                return query, *(F.normalize(image.float(), dim=-1) for image in encoded)

        def loss_of(features: Features) -> Tensor:
            if self.trains_images:
                against = torch.cat([self.worker.gather(image, counts) for image in features[1:]])
            else:
                against = F.normalize(self.images[told], dim=-1)
            ids = told if masks else None
            return contrastive_loss(features[0], against, positives, self.temperature(), ids, batch=len(batch))

        return backward_in_chunks(encode, len(mine), self.settings.optimisation.chunk, loss_of, grad_scale)

    def _nothing(self) -> Tensor:
        return torch.zeros(0, self.encoder.dim, device=self.worker.device, requires_grad=True)

    def _image(self, rows: Tensor) -> Tensor:
        """Raw image features of image rows: looked up when frozen, encoded when trained."""
        if not self.trains_images:
            return self.images[rows.to(self.worker.device)]
        pixels = self.pixels.read([self.inputs.image_keys[row] for row in rows.tolist()])
        return self.encoder.encode_image(pixels.to(self.worker.device))

    def validate(self, epoch: int) -> Validation:
        val = self.inputs.val
        images = self._val_images(val) if self.trains_images else self.images
        captions = self._in_shares(len(val.captions), self._encode_captions)
        queries = self.combine(images[val.reference], captions[val.query])
        return Validation.of(CosineRetriever(val, F.normalize(images, dim=-1), queries), self.inputs.protocol)

    def _val_images(self, val: TripletTable) -> Tensor:
        """Image table with the rows that validation needs encoded anew, shared among the workers."""
        needed = torch.cat([val.reference, *(gallery for _, gallery in val.categories.values())]).unique()
        encoded = self._in_shares(len(needed), lambda rows: self._image(needed[rows]))
        table = torch.zeros(len(self.inputs.image_keys), self.encoder.dim, device=self.worker.device)
        table[needed.to(self.worker.device)] = encoded
        return table

    def _encode_captions(self, rows: slice) -> Tensor:
        return self.encoder.encode_text(self.val_tokens[rows].to(self.worker.device))

    def _in_shares(self, count: int, encode: Callable[[slice], Tensor]) -> Tensor:
        """Encodes `count` things, each worker its share, and returns all features [count, d] on every worker."""
        share = self.worker.share(count)
        parts = [self._nothing().detach()]
        with self.worker.autocast():
            for start in range(share.start, share.stop, ENCODE_BATCH):
                parts.append(encode(slice(start, min(start + ENCODE_BATCH, share.stop))).float())
        return self.worker.gather(torch.cat(parts), self.worker.shares(count))


def _pairs(rows: Tensor, draws: Tensor) -> list[tuple[int, float]]:
    return list(zip(rows.tolist(), draws.tolist(), strict=True))


def draw_variant(variants: tuple[int, ...], draw: float) -> int:
    """Picks each caption variant equally often (reference: 25 % each of four)."""
    return variants[int(draw * len(variants))]
