"""A training run: from triplets and pictures to a trained and evaluated bundle. A resumed run skips finished steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cirray.cluster.device import use_gpu
from cirray.cluster.session import connect
from cirray.config.training import CombiningSettings, TrainConfig
from cirray.console.log import log
from cirray.data.attribute_classes import AttributeClasses
from cirray.data.attribute_values import read_items
from cirray.data.holdout import SELECTION
from cirray.data.records import Dataset
from cirray.data.table import build_table
from cirray.evaluation.attributes_kept import AttributeTable
from cirray.evaluation.baselines import ImageOnly, TextOnly
from cirray.evaluation.evaluate import Result, overall, reranked_name, score, text_table
from cirray.evaluation.figures import draw_queries
from cirray.evaluation.kept_in_split import attribute_table
from cirray.evaluation.reranked import RerankedTop
from cirray.features.embed import DecodePixels, pixels_fingerprint
from cirray.features.ensure import Embedder, image_keys, pictures_of
from cirray.features.fill import fill
from cirray.features.frozen import FrozenFeatures, read_features
from cirray.features.store import FeatureStore
from cirray.models import bundle
from cirray.models.bundle_manifest import MANIFEST as BUNDLE_MANIFEST
from cirray.models.bundle_reranker import TrainedReranker
from cirray.models.clip import Encoder, load_encoder, load_trained, save_encoder
from cirray.models.combining import CombiningFunction, build_combining, is_trainable
from cirray.models.combining.sum import Sum
from cirray.models.encoder_manifest import MANIFEST as ENCODER_MANIFEST
from cirray.models.norms import balance_norms
from cirray.models.reranking import build_reranker
from cirray.storage.files import write_json
from cirray.storage.location import Location
from cirray.storage.provenance import provenance
from cirray.training.epochs import with_limited_epochs
from cirray.training.examples import pick_examples
from cirray.training.launch import StageName, is_done, run_stage
from cirray.training.preparation import (
    check_settings,
    classes_to_learn,
    read_data,
    start_encoder,
    titled_images,
)
from cirray.training.run_dir import BUNDLE, METRICS, QUERIES, REPORT, claim, open_output
from cirray.training.task import StageInputs

SAMPLE = 256  # images whose features show how long features are


def train(config: TrainConfig) -> dict[str, Any]:
    """Runs or resumes a training; returns the content of report.json.

    Raises:
        CirrayError: settings or data are wrong (raised before Ray starts), or a stage failed.
    """
    output = open_output(config)
    dataset = read_data(config)
    check_settings(config, dataset)
    items = read_items(config.data.root)
    classes, attributes = classes_to_learn(config, dataset, items), attribute_table(items, dataset)
    log(
        f"{dataset.name}: {len(dataset.images):,} images, "
        + ", ".join(f"{len(split.triplets):,} {name} triplets" for name, split in dataset.splits.items())
    )
    backbone = output / "backbone"
    encoder = start_encoder(config, backbone.local)
    claim(output, config, dataset)
    if not (backbone.local / ENCODER_MANIFEST).is_file():
        save_encoder(encoder, backbone.local)
        backbone.push(ENCODER_MANIFEST)
    connect(config.workers)
    config = with_limited_epochs(config, len(dataset.titles))
    return Training(config, output, dataset, encoder, classes, attributes).run()


class Training:
    """The steps of one training run."""

    def __init__(
        self,
        config: TrainConfig,
        output: Location,
        dataset: Dataset,
        encoder: Encoder,
        classes: AttributeClasses | None,
        attributes: AttributeTable | None,
    ) -> None:
        self.config = config
        self.output = output
        self.dataset = dataset
        self.encoder = encoder
        self.classes = classes
        self.attributes = attributes
        self.encoder_location = output / "backbone"
        self.pretrained: Location | None = None  # the encoder that stage 1 starts from
        self.store = Location.configured(config.store, "store")
        self.train = build_table(dataset, "train")
        self.val = build_table(dataset, "val")
        self.selection = build_table(dataset, SELECTION) if SELECTION in dataset.splits else self.val
        self.results: list[Result] = []

    def run(self) -> dict[str, Any]:
        """Runs the remaining steps, evaluates, and writes the bundle and the report; returns the report."""
        config = self.config
        if config.stage0.enabled:
            self._ensure_pixels()
            self._train_encoder("stage0")
        self._evaluate(False, {"image only": ImageOnly(), "text only": TextOnly(), "sum": Sum()})
        if config.ablation and config.stage1.enabled and self._trains_combining():
            frozen = self._train_combining("stage2-frozen")
            self._evaluate(False, {config.stage2.combining.function: frozen})
        if config.stage1.enabled:
            if config.stage1.encoder != "text":
                self._ensure_pixels()
            self._train_encoder("stage1")
            self._evaluate(True, {"sum": Sum()})
        combining = self._combining()
        if not isinstance(combining, Sum):  # Sum was evaluated above
            self._evaluate(config.stage1.enabled, {config.stage2.combining.function: combining})
        return self._finish(combining, self._reranker(combining) if config.stage3.enabled else None)

    def _trains_combining(self) -> bool:
        return self.config.stage2.enabled and is_trainable(self.config.stage2.combining)

    def _combining(self) -> CombiningFunction:
        """Returns the combining function for the bundle, trained by stage 2 if it has parameters."""
        if not self.config.stage2.enabled:
            return Sum()
        if not self._trains_combining():
            return build_combining(self.encoder.dim, self.config.stage2.combining)
        return self._train_combining("stage2")

    def _reranker(self, combining: CombiningFunction) -> TrainedReranker:
        """Runs stage 3 for the trained combining function, and evaluates the reranker."""
        settings = self.config.stage3
        self._ensure_features()
        log(f"stage3: {'done before' if is_done((self.output / 'stage3').local) else _purpose(self.config, 'stage3')}")
        tensors = self._run_stage("stage3", "stage3", combining)
        reranker = build_reranker(self.encoder.dim, settings.reranker)
        reranker.load_state_dict(_part(tensors, "reranker."))
        name = reranked_name(self._combining_settings(combining).function, settings.reranker.function, settings.top)
        second = RerankedTop(reranker.eval(), settings.top)
        self._evaluate(self.config.stage1.enabled, {name: combining}, second)
        return TrainedReranker(reranker, settings.reranker)

    def _combining_settings(self, combining: CombiningFunction) -> CombiningSettings:
        """Returns the settings of the bundle's combining function, which is Sum without stage 2."""
        settings = self.config.stage2.combining
        return settings.model_copy(update={"function": "sum"}) if isinstance(combining, Sum) else settings

    def _inputs(self, combining: CombiningFunction | None) -> StageInputs:
        titles = self.dataset.titles
        rows = {image: row for row, image in enumerate(self.dataset.images)}
        return StageInputs(
            config=self.config,
            encoder=self.encoder_location,
            store=self.store,
            image_keys=image_keys(self.dataset),
            train=self.train,
            val=self.selection,
            protocol=self.dataset.protocol,
            titled=tuple((rows[image], titles[image]) for image in titled_images(self.dataset)),
            attributes=self.classes,
            combining=combining,
        )

    def _train_encoder(self, stage: StageName) -> None:
        """Runs stage 0 or 1; the following steps use its encoder."""
        trained = self.output / stage / "encoder"
        if stage == "stage1":
            self.pretrained = self.encoder_location
        if not (trained.local / ENCODER_MANIFEST).is_file():
            if stage == "stage1":
                self._ensure_features()
            log(f"{stage}: {_purpose(self.config, stage)}")
            tensors = self._run_stage(stage, stage)
            load_trained(self.encoder, tensors, self.config.stage1.blend if stage == "stage1" else 1.0)
            if stage == "stage0":
                self._balance_norms()
            save_encoder(self.encoder, trained.local)
            trained.push(ENCODER_MANIFEST)
        else:
            self.encoder = load_encoder(trained.local)
        self.encoder_location = trained

    @torch.inference_mode()
    def _balance_norms(self) -> None:
        """Makes image features as long as text features, on some images and their titles."""
        some = titled_images(self.dataset)[:SAMPLE]
        pixels = self._pixels().read([self.dataset.contents[image] for image in some])
        tokens = self.encoder.tokenize([self.dataset.titles[image] for image in some])
        balance_norms(self.encoder, self.encoder.encode_image(pixels), self.encoder.encode_text(tokens))

    def _run_stage(self, stage: StageName, label: str, trained: CombiningFunction | None = None) -> dict[str, Tensor]:
        tensors = run_stage(stage, label, self._inputs(trained), self.output)
        (self.output / METRICS).push()
        return tensors

    def _train_combining(self, label: str) -> CombiningFunction:
        """Runs stage 2 on the features of the current encoder."""
        self._ensure_features()
        log(f"{label}: {'done before' if is_done((self.output / label).local) else _purpose(self.config, 'stage2')}")
        tensors = self._run_stage("stage2", label)
        combining = build_combining(self.encoder.dim, self.config.stage2.combining)
        combining.load_state_dict(_part(tensors, "combining."))
        return combining.eval()

    def _pixels(self) -> FeatureStore:
        """Returns the store of pictures as pixels of the current encoder's input size."""
        fingerprint = pixels_fingerprint(self.encoder.image_input.size, self.encoder.preprocess)
        return FeatureStore(self.store, "pixels", fingerprint)

    def _ensure_pixels(self) -> None:
        size, preprocess = self.encoder.image_input.size, self.encoder.preprocess
        store = self._pixels()
        make, settings = partial(DecodePixels, size, preprocess), self.config.embed
        fill(store, pictures_of(self.dataset), make, settings, self.config.workers, "pixels", settings.inline_pictures)

    def _ensure_features(self) -> tuple[FeatureStore, FeatureStore]:
        """Computes missing features of the current encoder; only stages 2 and 3 need those of the train captions."""
        ahead = self.config.stage1.enabled and self.encoder_location != self.output / "stage1" / "encoder"
        trains_here = self.config.ablation or not ahead
        captions = [*self.val.captions, *self.selection.captions, *(self.train.captions if trains_here else ())]
        config = self.config
        gpu = use_gpu(config.compute, config.workers)
        embedder = Embedder(self.encoder_location, self.store, config.embed, config.workers, gpu)
        return embedder.images(pictures_of(self.dataset)), embedder.texts(captions)

    def _features(self) -> FrozenFeatures:
        images, texts = self._ensure_features()
        return read_features(images, texts, image_keys(self.dataset), {"val": self.val})

    def _evaluate(
        self, fine_tuned: bool, functions: dict[str, CombiningFunction], second: RerankedTop | None = None
    ) -> None:
        protocol, features = self.dataset.protocol, self._features()
        self.results += score("val", self.val, protocol, features, functions, fine_tuned, self.attributes, second)

    def _finish(self, combining: CombiningFunction, reranker: TrainedReranker | None) -> dict[str, Any]:
        settings = self._combining_settings(combining)
        final = overall(self.results, self.config.stage1.enabled, settings.function)
        details = {
            "backbone": self.config.backbone.model,
            "recipe": self.config.recipe,
            "fine_tuned": self.config.stage1.enabled,
            "protocol": self.dataset.protocol.name,
            "metrics": {name: round(value, 4) for name, value in final.metrics.items()},
            "provenance": provenance(self.config.seed),
        }
        pretrained = self.pretrained.local if self.pretrained else None
        folder, encoder = (self.output / BUNDLE).local, self.encoder_location.local
        bundle.save(folder, encoder, combining, settings, details, pretrained, reranker)
        self._draw(combining)
        report = {
            "recipe": self.config.recipe,
            "dataset": self.dataset.name,
            "protocol": self.dataset.protocol.name,
            "seed": self.config.seed,
            "skipped": [str(problem) for problem in self.dataset.skipped],
            "results": [result.to_json() for result in self.results],
        }
        write_json((self.output / REPORT).local, report)
        (self.output / BUNDLE).push(BUNDLE_MANIFEST)
        for name in (QUERIES, REPORT):
            (self.output / name).push()
        print("\n" + text_table(self.results, self.dataset.protocol) + "\n")
        for label, name in (("report", REPORT), ("pictures", QUERIES), ("bundle", BUNDLE)):
            log(f"{label:9} {(self.output / name).local}")
        return report

    @torch.inference_mode()
    def _draw(self, combining: CombiningFunction) -> None:
        features = self._features()
        queries = combining(*features.query_inputs("val", self.val))
        examples = pick_examples(self.dataset, self.val, features.unit_images, queries)
        draw_queries(
            examples,
            f"{self.config.recipe}: example queries",
            self.config.preprocess.background,
            (self.output / QUERIES).local,
        )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the trained tensors of one module, under their names in the module."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _purpose(config: TrainConfig, stage: StageName) -> str:
    settings = getattr(config, stage).optimisation
    what = {
        "stage0": "image-title pre-training",
        "stage1": f"fine-tuning CLIP ({config.stage1.encoder}) on the sum",
        "stage2": f"training the combining function ({config.stage2.combining.function})",
        "stage3": f"training the reranker ({config.stage3.reranker.function})",
    }[stage]
    return f"{what}, {config.workers} workers, batch {settings.batch_size}, up to {settings.epochs} epochs"
