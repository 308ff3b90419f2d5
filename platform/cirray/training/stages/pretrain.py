"""Stage 0: contrastive image-title training of both towers (Radford et al., 2021) on preprocessed pixels.

With `fragment_weight`, each image also picks a random fragment of its title among fragments of other titles; with
`attribute_weight`, its attribute values among all values of the attribute, by their texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from cirray.cluster.worker import Worker
from cirray.data.title_fragments import Title, matches
from cirray.features.embed import pixels_fingerprint
from cirray.features.store import FeatureStore
from cirray.models.clip import load_encoder
from cirray.models.encoder_manifest import MANIFEST
from cirray.models.losses import Temperature, attribute_loss, contrastive_loss
from cirray.training.gradcache import Features, backward_in_chunks
from cirray.training.sampling import Batch
from cirray.training.task import StageInputs, Task, Validation


class PretrainTask(Task):
    """Trains CLIP on image-title pairs, with the symmetric contrastive loss over the global batch.

    There is no validation data, so the last epoch is selected.
    """

    unit = "pairs"

    def __init__(self, inputs: StageInputs, worker: Worker) -> None:
        settings = inputs.config.stage0
        self.worker = worker
        self.settings = settings
        self.encoder = load_encoder(inputs.encoder.fetch(MANIFEST), worker.device)
        if settings.gradient_checkpointing:
            self.encoder.clip.set_grad_checkpointing(True)
        for name, parameter in self.encoder.clip.named_parameters():
            parameter.requires_grad_(name not in ("logit_scale", "logit_bias"))
        self.temperature, self.attribute_temperature, self.fragment_temperature = (
            Temperature(settings.loss.temperature, settings.loss.learn_temperature).to(worker.device) for _ in range(3)
        )
        size, preprocess = self.encoder.image_input.size, self.encoder.preprocess
        self.pixels = FeatureStore(inputs.store, "pixels", pixels_fingerprint(size, preprocess))
        self.keys = [inputs.image_keys[row] for row, _ in inputs.titled]
        titles = [title for _, title in inputs.titled]
        numbers = {title: number for number, title in enumerate(dict.fromkeys(titles))}
        self.title_ids = torch.tensor([numbers[title] for title in titles])
        self.tokens = self.encoder.tokenize(titles)
        self.titles = titles
        self.attributes = inputs.attributes
        if self.attributes:
            self.class_tokens = self.encoder.tokenize(self.attributes.texts).to(worker.device)
            self.class_labels = torch.tensor(self.attributes.labels)
        self.examples = len(titles)

    def modules(self) -> Mapping[str, nn.Module]:
        modules = {"clip": self.encoder.clip, "temperature": self.temperature}
        if self.attributes:
            modules["attribute_temperature"] = self.attribute_temperature
        if self.settings.fragment_weight:
            modules["fragment_temperature"] = self.fragment_temperature
        return modules

    def backward(self, batch: Batch, grad_scale: Callable[[Tensor], Tensor]) -> Tensor:
        share = self.worker.share(len(batch))
        local_rows = batch.rows[share]
        device = self.worker.device
        pixels = self.pixels.read([self.keys[row] for row in local_rows.tolist()]) if len(local_rows) else None
        tokens = self.tokens[local_rows].to(device)
        positives = torch.arange(share.start, share.stop, device=device)
        ids = self.title_ids[batch.rows].to(device) if self.settings.loss.mask_duplicates else None
        counts = self.worker.shares(len(batch))
        titles = self._divided_titles(batch.rows)
        fragments = [title.fragment(draw) for title, draw in zip(titles, batch.draws.tolist(), strict=False)]
        fragment_tokens = self._tokens(fragments[share])

        def encode(rows: slice) -> Features:
            if pixels is None:
                return tuple(self._no_features() for _ in range(3 if fragments else 2))
            with self.worker.autocast():
                image = self.encoder.encode_image(pixels[rows].to(device), normalize=True)
                text = self.encoder.encode_text(tokens[rows], normalize=True)
                if not fragments:
                    return image.float(), text.float()
                fragment = self.encoder.encode_text(fragment_tokens[rows], normalize=True)
            return image.float(), text.float(), fragment.float()

        def loss_of(features: Features) -> Tensor:
            image, text = features[:2]
            images, texts = self.worker.gather(image, counts), self.worker.gather(text, counts)
            scale = self.temperature()
            to_text = contrastive_loss(image, texts, positives, scale, ids)
            loss = (to_text + contrastive_loss(text, images, positives, scale, ids)) / 2
            if fragments:
                excluded = matches(titles[share], fragments).to(device)
                everyones = self.worker.gather(features[2], counts)
                scale = self.fragment_temperature()
                among_fragments = contrastive_loss(image, everyones, positives, scale, excluded=excluded)
                loss = loss + self.settings.fragment_weight * among_fragments
            return loss + self._attribute_loss(image, local_rows, len(batch))

        return backward_in_chunks(encode, len(local_rows), self.settings.optimisation.chunk, loss_of, grad_scale)

    def _divided_titles(self, rows: Tensor) -> list[Title]:
        """Returns the titles of the global batch, for their fragments; [] if the loss has no such part."""
        return [Title.of(self.titles[row]) for row in rows.tolist()] if self.settings.fragment_weight else []

    def _tokens(self, fragments: Sequence[tuple[str, ...]]) -> Tensor:
        texts = [" ".join(words) for words in fragments]
        return self.encoder.tokenize(texts).to(self.worker.device) if texts else self.tokens[:0]

    def _attribute_loss(self, image: Tensor, rows: Tensor, batch: int) -> Tensor:
        """Returns this worker's part of the weighted attribute loss of unit image features [b, d]; 0 if there is none.

        Every worker encodes the texts of all classes: they are few and short.
        """
        if not self.attributes:
            return image.new_zeros(())
        with self.worker.autocast():
            classes = self.encoder.encode_text(self.class_tokens, normalize=True)
        labels = self.class_labels[rows].to(image.device)
        loss = attribute_loss(image, classes, labels, self.attributes.sizes, self.attribute_temperature(), batch)
        return self.settings.attribute_weight * loss

    def _no_features(self) -> Tensor:
        """Returns features of no rows, [0, d], for a worker whose share is empty."""
        return torch.zeros(0, self.encoder.dim, device=self.worker.device, requires_grad=True)

    def validate(self, epoch: int) -> Validation:
        return Validation({}, float(epoch))
