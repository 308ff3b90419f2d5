"""The compared variants: queries and gallery of a split, by each stage's encoder and combining function.

Shapes: I images, T triplets, d feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cirray.cluster.device import use_gpu
from cirray.config.schema import Config
from cirray.data.records import Dataset
from cirray.data.table import TripletTable
from cirray.errors import RunError
from cirray.evaluation.baselines import ImageOnly, TextOnly
from cirray.evaluation.metrics import Recall, evaluate
from cirray.features.ensure import Embedder, Features, pictures_of, read_features
from cirray.models.bundle import load_combining
from cirray.models.bundle_manifest import MANIFEST, read_bundle
from cirray.models.combining import CombiningFunction, build_combining
from cirray.models.combining.sum import Sum
from cirray.models.encoder_manifest import MANIFEST as ENCODER_MANIFEST
from cirray.storage.location import fetch, store_location
from cirray.training.checkpoints import read_weights
from cirray.training.launch import is_done


@dataclass(frozen=True, slots=True)
class Stage:
    """One encoder with the combining functions to apply to its features.

    Attributes:
        encoder: the encoder folder.
        functions: name of the variant -> combining function.
    """

    encoder: Path
    functions: dict[str, CombiningFunction]


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the study.

    Attributes:
        name: as in the paper's tables: "Sum", "Combiner", "FT Sum", "FT Combiner".
        gallery: unit image features [I, d].
        query: unit query features [T, d].
        text_weight: text weight of each query [T], the paper's lambda; None without a learned one.
        recall: by category; the average is last.
    """

    name: str
    gallery: Tensor
    query: Tensor
    text_weight: Tensor | None
    recall: list[Recall]


def stages_of_run(run: Path, config: Config) -> list[Stage]:
    """Returns the stages of a training run: the encoder before stage 1, and the one after it if there is one.

    Raises:
        RunError: the training is not finished.
    """
    before, after = run / "stage0" / "encoder", run / "stage1" / "encoder"
    first = before if (before / ENCODER_MANIFEST).is_file() else run / "backbone"
    if not (run / "report.json").is_file():
        raise RunError(f"{run} is not a finished training (report.json is missing): give the output of jobs/train.py")
    stages = [Stage(first, {"image only": ImageOnly(), "text only": TextOnly(), "Sum": Sum()})]
    if (after / ENCODER_MANIFEST).is_file():
        stages[0].functions.update(_trained("Combiner", run / "stage2-frozen", run, config))
        stages.append(Stage(after, {"FT Sum": Sum()}))
        stages[1].functions.update(_trained("FT Combiner", run / "stage2", run, config))
    else:
        stages[0].functions.update(_trained("Combiner", run / "stage2", run, config))
    return stages


def stages_of_bundle(bundle: Path | str) -> list[Stage]:
    """Returns the one stage of a bundle: its encoder with its combining function and the sum."""
    folder = fetch(bundle, MANIFEST)
    manifest = read_bundle(folder)
    prefix = "FT " if manifest["fine_tuned"] else ""
    functions: dict[str, CombiningFunction] = {
        "image only": ImageOnly(),
        "text only": TextOnly(),
        f"{prefix}Sum": Sum(),
    }
    if manifest["combining"]["function"] != "sum":
        functions[f"{prefix}Combiner"] = load_combining(folder, manifest)
    return [Stage(folder / "encoder", functions)]


@torch.inference_mode()
def variants(stages: Sequence[Stage], dataset: Dataset, table: TripletTable, config: Config) -> list[Variant]:
    """Computes missing features, then the queries and the recall of every variant."""
    compared = []
    for stage in stages:
        gpu = use_gpu(config.compute, config.workers)
        embedder = Embedder(stage.encoder, store_location(config.store), config.embed, config.workers, gpu)
        images, texts = embedder.images(pictures_of(dataset)), embedder.texts(table.captions)
        features = read_features(dataset, table, images, texts)
        compared += [_variant(name, function, features, dataset, table) for name, function in stage.functions.items()]
    return compared


def _variant(
    name: str, function: CombiningFunction, features: Features, dataset: Dataset, table: TripletTable
) -> Variant:
    query, text_weight = function.eval().compose(features.images[table.reference], features.captions)
    if not function.is_trainable():
        text_weight = None
    gallery = F.normalize(features.images, dim=-1)
    recall = evaluate(table, dataset.protocol, gallery, query)
    return Variant(name, gallery, query, None if text_weight is None else text_weight.flatten(), recall)


def _trained(name: str, folder: Path, run: Path, config: Config) -> dict[str, CombiningFunction]:
    if not is_done(folder):
        return {}
    prefix = "combining."
    tensors = {key.removeprefix(prefix): t for key, t in read_weights(folder).items() if key.startswith(prefix)}
    dim = read_bundle(run / "bundle")["dim"]
    combining = build_combining(dim, config.stage2.combining)
    combining.load_state_dict(tensors)
    return {name: combining}
