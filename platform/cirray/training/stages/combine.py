"""Stage 2: train the combining function on frozen features only (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from cirray.cluster.worker import Worker
from cirray.evaluation.cosine import CosineRetriever
from cirray.features.frozen import FrozenFeatures, read_features
from cirray.features.store import FeatureStore
from cirray.models.combining import WithAuxiliaryLoss, build_combining
from cirray.models.encoder_manifest import MANIFEST, read_manifest
from cirray.models.losses import Temperature, contrastive_loss
from cirray.training.gradcache import Features, backward_in_chunks
from cirray.training.negatives import NegativeSampler
from cirray.training.sampling import Batch
from cirray.training.task import StageInputs, Task, Validation


class CombiningTask(Task):
    """Trains the combining function on looked-up features of images and of all caption variants.

    Args:
        inputs: the inputs of the stage.
        worker: this process's worker.
        features: frozen features with the captions "train" and "val"; None = read from the store.
    """

    def __init__(self, inputs: StageInputs, worker: Worker, features: FrozenFeatures | None = None) -> None:
        settings = inputs.config.stage2
        self.worker = worker
        self.settings = settings
        self.inputs = inputs
        self.frozen = (features or read_frozen(inputs)).to(worker.device)
        self.variants, self.counts = padded_variants(inputs.train.variants)
        torch.manual_seed(inputs.config.seed)
        self.combining = build_combining(self.frozen.images.shape[1], settings.combining).to(worker.device)
        self.temperature = Temperature(settings.loss.temperature, settings.loss.learn_temperature)
        self.temperature.to(worker.device)
        self.negatives = NegativeSampler(settings.loss, inputs.train, self.frozen.unit_images)
        self.examples = len(inputs.train)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"combining": self.combining, "temperature": self.temperature}

    def begin(self) -> None:
        if self.negatives.needs_mining:
            train = self.inputs.train
            self.combining.eval()
            with torch.inference_mode():
                self.negatives.mine(self.combining(*self.frozen.query_inputs("train", train)))

    def backward(self, batch: Batch, grad_scale: Callable[[Tensor], Tensor]) -> Tensor:
        share = self.worker.share(len(batch))
        train, device = self.inputs.train, self.worker.device
        local_rows = batch.rows[share]
        drawn = (batch.draws * self.counts[batch.rows]).long().unsqueeze(1)
        captions = self.variants[batch.rows].gather(1, drawn).squeeze(1).to(device)
        reference = train.reference[local_rows].to(device)
        images, texts = self.frozen.images, self.frozen.captions["train"]
        candidates = self.negatives.for_batch(batch.rows, share)
        self.combining.train()

        def encode(rows: slice) -> Features:
            image, text = images[reference[rows]], texts[captions[share][rows]]
            with self.worker.autocast():
                query = self.combining(image, text)
                if not isinstance(self.combining, WithAuxiliaryLoss):
                    return (query.float(),)
                target = images[train.target[local_rows[rows]].to(device)]
                compared = self.combining.auxiliary(image, text, target)
            return query.float(), *(features.float() for features in compared)

        def loss_of(features: Features) -> Tensor:
            loss = contrastive_loss(
                features[0],
                candidates.target,
                candidates.positives,
                self.temperature(),
                candidates.target_ids,
                candidates.hard,
                len(batch),
            )
            if len(features) == 1:
                return loss
            _, compared, counterparts = features
            return loss + self._auxiliary_loss(compared, counterparts, captions, share)

        return backward_in_chunks(encode, len(local_rows), self.settings.optimisation.chunk, loss_of, grad_scale)

    def _auxiliary_loss(self, features: Tensor, counterparts: Tensor, captions: Tensor, share: slice) -> Tensor:
        """Returns this worker's part of the mean auxiliary loss of the B triplets of a batch.

        Args:
            features: of this worker's b triplets [b, e]; each is compared to the counterparts of all workers.
            counterparts: of this worker's triplets [b, e].
            captions: int64 [B], the captions of all triplets; equal ones are no negatives.
            share: this worker's part of the batch.
        """
        everyones = self.worker.gather(counterparts, self.worker.shares(len(captions)))
        own = torch.arange(share.start, share.stop, device=captions.device)
        return contrastive_loss(features, everyones, own, self.temperature(), captions)

    def validate(self, epoch: int) -> Validation:
        val = self.inputs.val
        self.combining.eval()
        queries = self.combining(*self.frozen.query_inputs("val", val))
        return Validation.of(CosineRetriever(val, self.frozen.unit_images, queries), self.inputs.protocol)


def read_frozen(inputs: StageInputs) -> FrozenFeatures:
    """Reads the features of all images, and of the captions "train" and "val", from the store."""
    fingerprints = read_manifest(inputs.encoder.fetch(MANIFEST))
    images = FeatureStore(inputs.store, "image", fingerprints["image_fingerprint"])
    texts = FeatureStore(inputs.store, "text", fingerprints["text_fingerprint"])
    return read_features(images, texts, inputs.image_keys, {"train": inputs.train, "val": inputs.val})


def padded_variants(variants: tuple[tuple[int, ...], ...]) -> tuple[Tensor, Tensor]:
    """Pads the caption variants of T triplets to a tensor.

    Returns:
        Caption rows, int64 [T, V], padded with each triplet's first one, and the number of variants, int64 [T]; V is
        the largest number.
    """
    width = max(len(row) for row in variants)
    rows = torch.tensor([[*row, *[row[0]] * (width - len(row))] for row in variants])
    return rows, torch.tensor([len(row) for row in variants])
