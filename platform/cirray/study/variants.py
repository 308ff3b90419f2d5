"""The compared variants: queries and gallery of a split, by each stage's encoder and combining function.

Shapes: I images, T triplets, d feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cirray.cluster.device import use_gpu
from cirray.config.evaluation import SplitConfig
from cirray.config.training import CombiningSettings
from cirray.data.records import Dataset
from cirray.data.table import TripletTable
from cirray.errors import RunError
from cirray.evaluation.baselines import ImageOnly, TextOnly
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.retriever import Evaluation, evaluate
from cirray.features.ensure import Embedder
from cirray.features.frozen import FrozenFeatures
from cirray.models.bundle import load_combining
from cirray.models.bundle_manifest import MANIFEST, read_bundle
from cirray.models.combining import CombiningFunction, build_combining
from cirray.models.combining.sum import Sum
from cirray.models.encoder_manifest import MANIFEST as ENCODER_MANIFEST
from cirray.storage.location import Location
from cirray.training.checkpoints import read_weights
from cirray.training.launch import is_done

_SPLIT = "studied"


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
        name: as in the paper's tables: the class of the combining function, "FT" before it after stage 1, such as "Sum"
            or "FT Combiner"; or "image only", "text only".
        gallery: unit image features [I, d].
        query: unit query features [T, d].
        text_weight: text weight of each query [T], the paper's lambda; None without a learned one.
        found: the metrics by category; the average is last.
    """

    name: str
    gallery: Tensor
    query: Tensor
    text_weight: Tensor | None
    found: list[Evaluation]


def stages_of_run(run: Path) -> list[Stage]:
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
        stages[0].functions.update(_trained("", run / "stage2-frozen", run))
        stages.append(Stage(after, {"FT Sum": Sum()}))
        stages[1].functions.update(_trained("FT ", run / "stage2", run))
    else:
        stages[0].functions.update(_trained("", run / "stage2", run))
    return stages


def stages_of_bundle(bundle: Path | str) -> list[Stage]:
    """Returns the one stage of a bundle: its encoder with its combining function and the sum."""
    folder = Location.parse(bundle).fetch(MANIFEST)
    manifest = read_bundle(folder)
    prefix = "FT " if manifest["fine_tuned"] else ""
    combining = load_combining(folder, manifest)
    functions: dict[str, CombiningFunction] = {
        "image only": ImageOnly(),
        "text only": TextOnly(),
        f"{prefix}Sum": Sum(),
        f"{prefix}{type(combining).__name__}": combining,
    }
    return [Stage(folder / "encoder", functions)]


@torch.inference_mode()
def variants(stages: Sequence[Stage], dataset: Dataset, table: TripletTable, config: SplitConfig) -> list[Variant]:
    """Computes missing features, then the queries and the recall of every variant."""
    compared = []
    for stage in stages:
        gpu = use_gpu(config.compute, config.workers)
        store = Location.configured(config.store, "store")
        embedder = Embedder(Location.parse(stage.encoder), store, config.embed, config.workers, gpu)
        features = embedder.features(dataset, {_SPLIT: table})
        compared += [_variant(name, function, features, dataset, table) for name, function in stage.functions.items()]
    return compared


def _variant(
    name: str, function: CombiningFunction, features: FrozenFeatures, dataset: Dataset, table: TripletTable
) -> Variant:
    query, text_weight = function.eval().compose(*features.query_inputs(_SPLIT, table))
    if not function.is_trainable():
        text_weight = None
    found = evaluate(CosineRetriever(table, features.unit_images, query), dataset.protocol)
    return Variant(name, features.unit_images, query, None if text_weight is None else text_weight.flatten(), found)


def _trained(prefix: str, folder: Path, run: Path) -> dict[str, CombiningFunction]:
    """Returns what stage 2 trained in `folder`, under its name with `prefix`; nothing if it did not run."""
    if not is_done(folder):
        return {}
    part = "combining."
    tensors = {key.removeprefix(part): t for key, t in read_weights(folder).items() if key.startswith(part)}
    manifest = read_bundle(run / "bundle")
    combining = build_combining(manifest["dim"], CombiningSettings.model_validate(manifest["combining"]))
    combining.load_state_dict(tensors)
    return {f"{prefix}{type(combining).__name__}": combining}
