"""The configuration of jobs/evaluate.py, jobs/rank.py, jobs/analyze.py and jobs/exam.py."""

from __future__ import annotations

from cirray.config.compute import Device, Embedding
from cirray.config.data import Data
from cirray.config.reranking import Reranking
from cirray.config.section import JobConfig


class SplitConfig(JobConfig):
    """The data to read and the computation of its features. The model is a bundle, named by an option."""

    data: Data = Data()
    embed: Embedding = Embedding()
    compute: Device = Device()


class EvaluateConfig(SplitConfig):
    """The data of an evaluation, and whether results are reranked."""

    rerank: Reranking = Reranking()


class ExamConfig(JobConfig):
    """The computation of features. The model is a bundle and the data an exam, both named by options."""

    embed: Embedding = Embedding()
    compute: Device = Device()
    rerank: Reranking = Reranking()
