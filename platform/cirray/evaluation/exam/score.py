"""Scores a bundle on an exam."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cirray.cluster.device import use_gpu
from cirray.cluster.session import connect
from cirray.config.data import Data
from cirray.config.evaluation import ExamConfig
from cirray.console.bars import bar
from cirray.data.exam import Exam, read_exam
from cirray.data.images import Background
from cirray.data.load import load_dataset
from cirray.data.records import Dataset
from cirray.evaluation.baselines import ImageOnly, TextOnly
from cirray.evaluation.evaluate import reranked_name
from cirray.evaluation.exam.failures import Failure, find_failures
from cirray.evaluation.exam.negatives import negatives
from cirray.evaluation.exam.parts import one_reference, rounds, single_order, two_references
from cirray.evaluation.exam.reranking_searcher import RerankingSearcher
from cirray.evaluation.exam.searcher import Captions, Searcher
from cirray.evaluation.reranked import RerankedTop
from cirray.features.ensure import Embedder, image_keys, pictures_of
from cirray.models.bundle import load
from cirray.models.bundle_manifest import MANIFEST, RERANKER_SETTINGS, read_bundle
from cirray.models.bundle_reranker import required_reranker
from cirray.models.combining import CombiningFunction
from cirray.models.combining.sum import Sum
from cirray.storage.location import Location
from cirray.storage.provenance import provenance


@dataclass(frozen=True, slots=True)
class Scored:
    """The result of an exam.

    Attributes:
        report: the measures by method, and what they were measured on, for JSON.
        failures: queries that the bundle's combining function got most wrong.
        background: colour behind transparent pixels of the pictures.
    """

    report: dict[str, Any]
    failures: list[Failure]
    background: Background


def score_exam(bundle: Path | str, root: Path | str, config: ExamConfig) -> Scored:
    """Scores a bundle's combining function on an exam; for comparison also Sum, the image alone and the text alone.

    With `rerank.top`, the bundle's reranker is scored too, on all queries except those of two references.

    Raises:
        BundleError: the bundle is incomplete, damaged or incompatible, or has no reranker although one is asked for.
        DataError: the exam cannot be used.
    """
    folder = Location.parse(bundle).fetch(MANIFEST)
    store = Location.configured(config.store, "store")
    manifest = read_bundle(folder)
    reranker = required_reranker(folder, manifest) if config.rerank.top else None
    exam = read_exam(root)
    background = manifest["preprocess"]["background"]
    dataset = load_dataset(Data(format="triplets", root=str(root)), store, background, ("val",))
    connect(config.workers)
    gpu = use_gpu(config.compute, config.workers)
    embedder = Embedder(Location.parse(folder / "encoder"), store, config.embed, config.workers, gpu)
    images = embedder.images(pictures_of(dataset)).read(image_keys(dataset))
    model = load(folder, "cuda" if gpu else "cpu")
    captions = Captions(model)
    own = manifest["combining"]["function"]
    functions: dict[str, CombiningFunction] = {"image only": ImageOnly(), "text only": TextOnly(), "sum": Sum()}
    functions[own] = model.combining
    ids = tuple(dataset.images)
    searchers = {name: Searcher(ids, images, captions, function) for name, function in functions.items()}
    if reranker is not None:
        name = reranked_name(own, manifest[RERANKER_SETTINGS]["function"], config.rerank.top)
        second = RerankedTop(reranker, config.rerank.top)
        searchers[name] = RerankingSearcher(ids, images, captions, model.combining, second)
    columns: dict[str, dict[str, float]] = {}
    failures: list[Failure] = []
    with bar(len(searchers), "exam", "methods") as shown:
        for name, searcher in searchers.items():
            order = single_order(searcher, exam)
            columns[name] = {
                **one_reference(searcher, exam, order),
                **({} if isinstance(searcher, RerankingSearcher) else _composed_parts(searcher, exam, order)),
                **rounds(searcher, exam),
            }
            if name == own:
                failures = find_failures(searcher, exam, order, dataset.images)
            shown.update()
    return Scored(_report(bundle, exam, dataset, columns, failures), failures, background)


def _composed_parts(searcher: Searcher, exam: Exam, order: NDArray[np.int64]) -> dict[str, float]:
    """Returns the measures of queries that are composed of several query features, which rerankers do not score."""
    return {**two_references(searcher, exam, order), **negatives(searcher, exam)}


def _report(
    bundle: Path | str,
    exam: Exam,
    dataset: Dataset,
    columns: dict[str, dict[str, float]],
    failures: list[Failure],
) -> dict[str, Any]:
    return {
        "bundle": str(bundle),
        "exam": exam.manifest,
        "counts": {
            "queries": len({query.name for query in exam.queries}),
            "wordings": len(exam.queries),
            "two_references": len({query.name for query in exam.two_references}),
            "negatives": len({negative.query.name for negative in exam.negatives}),
            "goals": len(exam.goals),
            "gallery": len(dataset.images),
        },
        "protocol": dataset.protocol.name,
        "provenance": provenance(),
        "measures": {
            name: {key: round(value, 4) for key, value in measures.items()} for name, measures in columns.items()
        },
        "failures": [failure.to_json() for failure in failures],
    }
