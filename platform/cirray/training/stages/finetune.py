"""Stage 1: fine-tune CLIP so that the sum of image and text features matches the target (paper section 3.1).

With `encoder = text` the image tower is frozen: every worker looks up all reference and target features in the feature
store, so global negatives need no communication. With `image` or `both`, each worker encodes the images of its share
and gathers the target features of all workers, with gradients.

A reference image usually resembles its target, so the references of a batch are hard negatives
(`loss.negatives = references`). They need no extra encoding, because the queries use them anyway.
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
    """Trains CLIP with the sum of raw features as the query, by cross-entropy query -> target over the global batch."""

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
        self.reference_negatives = settings.loss.negatives == "references"
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
        local_rows = batch.rows[share]
        captions = [draw_variant(train.variants[row], draw) for row, draw in _pairs(local_rows, batch.draws[share])]
        tokens = self.train_tokens[captions].to(device)
        positives = torch.arange(share.start, share.stop, device=device)
        candidates = [train.target[batch.rows]]  # image rows of the candidates of all queries, in the loss's order
        if self.reference_negatives:
            candidates.append(train.reference[batch.rows])
        candidate_rows = torch.cat(candidates).to(device)
        masks_duplicates = self.settings.loss.mask_duplicates or self.reference_negatives
        counts = self.worker.shares(len(batch))

        def encode(rows: slice) -> Features:
            if not len(local_rows):
                return tuple(self._no_features() for _ in range(1 + len(candidates) * self.trains_images))
            with self.worker.autocast():
                text = self.encoder.encode_text(tokens[rows])
                reference = self._image(train.reference[local_rows[rows]])
                query = self.combine(reference.float(), text.float())
                if not self.trains_images:
                    return (query,)
                target = self._image(train.target[local_rows[rows]])
                encoded = [target, reference] if self.reference_negatives else [target]
                return query, *(F.normalize(image.float(), dim=-1) for image in encoded)

        def loss_of(features: Features) -> Tensor:
            if self.trains_images:
                images = torch.cat([self.worker.gather(image, counts) for image in features[1:]])
            else:
                images = F.normalize(self.images[candidate_rows], dim=-1)
            ids = candidate_rows if masks_duplicates else None
            return contrastive_loss(features[0], images, positives, self.temperature(), ids, batch=len(batch))

        return backward_in_chunks(encode, len(local_rows), self.settings.optimisation.chunk, loss_of, grad_scale)

    def _no_features(self) -> Tensor:
        """Returns features of no rows, [0, d], for a worker whose share is empty."""
        return torch.zeros(0, self.encoder.dim, device=self.worker.device, requires_grad=True)

    def _image(self, rows: Tensor) -> Tensor:
        """Returns raw features [n, d] of image rows [n]: looked up if the image tower is frozen, else encoded."""
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
        """Returns raw image features [I, d], in which the rows that validation needs are encoded with the current
        weights and the others are 0. The workers share the encoding."""
        needed = torch.cat([val.reference, *(gallery for _, gallery in val.categories.values())]).unique()
        encoded = self._in_shares(len(needed), lambda rows: self._image(needed[rows]))
        table = torch.zeros(len(self.inputs.image_keys), self.encoder.dim, device=self.worker.device)
        table[needed.to(self.worker.device)] = encoded
        return table

    def _encode_captions(self, rows: slice) -> Tensor:
        return self.encoder.encode_text(self.val_tokens[rows].to(self.worker.device))

    def _in_shares(self, count: int, encode: Callable[[slice], Tensor]) -> Tensor:
        """Returns the features [count, d] of `count` rows on every worker; each worker encodes its share."""
        share = self.worker.share(count)
        parts = [self._no_features().detach()]
        with self.worker.autocast():
            for start in range(share.start, share.stop, ENCODE_BATCH):
                parts.append(encode(slice(start, min(start + ENCODE_BATCH, share.stop))).float())
        return self.worker.gather(torch.cat(parts), self.worker.shares(count))


def _pairs(rows: Tensor, draws: Tensor) -> list[tuple[int, float]]:
    return list(zip(rows.tolist(), draws.tolist(), strict=True))


def draw_variant(variants: tuple[int, ...], draw: float) -> int:
    """Returns one of a triplet's caption variants, all with equal probability, from a random number in [0, 1)."""
    return variants[int(draw * len(variants))]
