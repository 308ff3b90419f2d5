"""Stage 2: train the combining function on frozen features only (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.cluster.worker import Worker
from cirray.evaluation.cosine import CosineRetriever
from cirray.features.embed import text_key
from cirray.features.store import FeatureStore
from cirray.models.combining import build_combining
from cirray.models.encoder_manifest import MANIFEST, read_manifest
from cirray.models.losses import Temperature, contrastive_loss
from cirray.storage.location import fetch
from cirray.training.gradcache import Features, backward_in_chunks
from cirray.training.negatives import NegativeSampler
from cirray.training.sampling import Batch
from cirray.training.task import StageInputs, Task, Validation


@dataclass(frozen=True, slots=True)
class Frozen:
    """The frozen features that stage 2 looks rows up in. I images, V and W captions.

    Attributes:
        images: raw image features [I, d].
        gallery: the same, unit length.
        captions: raw features [V, d] of the train captions, all variants.
        val_captions: raw features [W, d] of the captions that validation uses.
    """

    images: Tensor
    gallery: Tensor
    captions: Tensor
    val_captions: Tensor

    @classmethod
    def read(cls, inputs: StageInputs) -> Frozen:
        """Reads them from the feature store."""
        fingerprints = read_manifest(fetch(inputs.encoder, MANIFEST))
        images = FeatureStore(inputs.store, "image", fingerprints["image_fingerprint"]).read(inputs.image_keys)
        texts = FeatureStore(inputs.store, "text", fingerprints["text_fingerprint"])
        return cls(
            images,
            F.normalize(images, dim=-1),
            texts.read([text_key(text) for text in inputs.train.captions]),
            texts.read([text_key(text) for text in inputs.val.captions]),
        )

    def to(self, device: torch.device) -> Frozen:
        """Moves them; on the same device nothing is copied."""
        return Frozen(*(getattr(self, part.name).to(device) for part in fields(self)))


class CombiningTask(Task):
    """Everything is a row lookup: image features, and the features of all caption variants.

    Args:
        inputs: what to train on.
        worker: this process's place in the group.
        frozen: the features, where somebody has read them already.
    """

    def __init__(self, inputs: StageInputs, worker: Worker, frozen: Frozen | None = None) -> None:
        settings = inputs.config.stage2
        self.worker = worker
        self.settings = settings
        self.inputs = inputs
        self.frozen = (frozen or Frozen.read(inputs)).to(worker.device)
        self.variants, self.counts = _padded(inputs.train.variants)
        torch.manual_seed(inputs.config.seed)
        self.combining = build_combining(self.frozen.images.shape[1], settings.combining).to(worker.device)
        self.temperature = Temperature(settings.loss.temperature, settings.loss.learn_temperature)
        self.temperature.to(worker.device)
        self.negatives = NegativeSampler(settings.loss, inputs.train, self.frozen.gallery)
        self.examples = len(inputs.train)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"combining": self.combining, "temperature": self.temperature}

    def begin(self) -> None:
        if self.negatives.mines:
            train = self.inputs.train
            self.combining.eval()
            with torch.inference_mode():
                features = self.frozen.captions[train.query.to(self.worker.device)]
                self.negatives.mine(self.combining(self.frozen.images[train.reference], features))

    def backward(self, batch: Batch, grad_scale: Callable[[Tensor], Tensor]) -> Tensor:
        share = self.worker.share(len(batch))
        train, device = self.inputs.train, self.worker.device
        mine = batch.rows[share]
        drawn = (batch.draws[share] * self.counts[mine]).long().unsqueeze(1)
        captions = self.variants[mine].gather(1, drawn).squeeze(1).to(device)
        reference = train.reference[mine].to(device)
        against = self.negatives.of(batch.rows, share)
        self.combining.train()

        def encode(rows: slice) -> Features:
            with self.worker.autocast():
                query = self.combining(self.frozen.images[reference[rows]], self.frozen.captions[captions[rows]])
            return (query.float(),)

        def loss_of(features: Features) -> Tensor:
            return contrastive_loss(
                features[0],
                against.target,
                against.positives,
                self.temperature(),
                against.target_ids,
                against.hard,
                len(batch),
            )

        return backward_in_chunks(encode, len(mine), self.settings.optimisation.chunk, loss_of, grad_scale)

    def validate(self, epoch: int) -> Validation:
        val = self.inputs.val
        self.combining.eval()
        queries = self.combining(self.frozen.images[val.reference], self.frozen.val_captions[val.query])
        return Validation.of(CosineRetriever(val, self.frozen.gallery, queries), self.inputs.protocol)


def _padded(variants: tuple[tuple[int, ...], ...]) -> tuple[Tensor, Tensor]:
    """Returns the variant rows of each triplet [T, widest], and how many each has [T]."""
    widest = max(len(row) for row in variants)
    rows = torch.tensor([[*row, *[row[0]] * (widest - len(row))] for row in variants])
    return rows, torch.tensor([len(row) for row in variants])
