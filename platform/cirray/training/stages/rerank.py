"""Stage 3 (not in the paper): train a reranker on the mistakes of stage 2, on frozen features only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.cluster.worker import Worker
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.reranked import RerankedRetriever, RerankedTop
from cirray.models.losses import Temperature
from cirray.models.reranking import build_reranker
from cirray.training.candidates import Candidates, mine_candidates
from cirray.training.gradcache import Features, backward_in_chunks
from cirray.training.sampling import Batch
from cirray.training.stages.combine import padded_variants, read_frozen
from cirray.training.task import StageInputs, Task, Validation


class RerankTask(Task):
    """Trains the reranker by cross-entropy over each query's own candidates, which the frozen first stage ranks best.

    Args:
        inputs: the inputs of the stage, with the trained combining function.
        worker: this process's worker.

    Raises:
        ValueError: there is no combining function.
    """

    def __init__(self, inputs: StageInputs, worker: Worker) -> None:
        if inputs.combining is None:
            raise ValueError("stage 3 needs the combining function of stage 2")
        settings = inputs.config.stage3
        self.worker = worker
        self.settings = settings
        self.inputs = inputs
        self.frozen = read_frozen(inputs).to(worker.device)
        self.variants, self.counts = padded_variants(inputs.train.variants)
        self.combining = inputs.combining.to(worker.device).eval().requires_grad_(False)
        torch.manual_seed(inputs.config.seed)
        self.reranker = build_reranker(self.frozen.images.shape[1], settings.reranker).to(worker.device)
        self.temperature = Temperature(settings.loss.temperature, settings.loss.learn_temperature)
        self.temperature.to(worker.device)
        self.candidates = self._mine()
        self.examples = len(inputs.train)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"reranker": self.reranker, "temperature": self.temperature}

    @torch.no_grad()
    def _mine(self) -> Candidates:
        """Mines the candidates of all train queries, once: the first stage does not change."""
        inputs = self.inputs
        return mine_candidates(
            inputs.train,
            self.frozen.unit_images,
            self.combining(*self.frozen.query_inputs("train", inputs.train)),
            self.settings.top,
            inputs.protocol.exclude_reference,
            inputs.image_keys if self.settings.loss.mask_duplicates else None,
        )

    def backward(self, batch: Batch, grad_scale: Callable[[Tensor], Tensor]) -> Tensor:
        share = self.worker.share(len(batch))
        train, device = self.inputs.train, self.worker.device
        local_rows, local_draws = batch.rows[share], batch.draws[share]
        drawn = (local_draws * self.counts[local_rows]).long().unsqueeze(1)
        captions = self.variants[local_rows].gather(1, drawn).squeeze(1).to(device)
        references, candidates = train.reference[local_rows].to(device), self.candidates.of(local_rows)
        self.reranker.train()

        def encode(rows: slice) -> Features:
            image, text = self.frozen.images[references[rows]], self.frozen.captions["train"][captions[rows]]
            with self.worker.autocast():
                query = self.combining(image, text).float()
                return (self.reranker.score(image, text, query, self.frozen.images[candidates.images[rows]]).float(),)

        def loss_of(features: Features) -> Tensor:
            logits = (self.temperature() * features[0]).masked_fill(candidates.masked, float("-inf"))
            return F.cross_entropy(logits, candidates.target, reduction="sum") / len(batch)

        return backward_in_chunks(encode, len(local_rows), self.settings.optimisation.chunk, loss_of, grad_scale)

    def validate(self, epoch: int) -> Validation:
        val = self.inputs.val
        self.reranker.eval()
        inputs = self.frozen.query_inputs("val", val)
        first = CosineRetriever(val, self.frozen.unit_images, self.combining(*inputs))
        second = RerankedTop(self.reranker, self.settings.top)
        return Validation.of(RerankedRetriever(first, self.frozen.images, inputs, second), self.inputs.protocol)
