"""The interface of a dataset format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from cirray.config.data import Data
from cirray.data import records
from cirray.data.formats._annotations import Annotations
from cirray.data.parsing import Record, Source
from cirray.data.records import Split, Triplet


class DatasetFormat(Protocol):
    """The functions that each format module defines.

    Attributes:
        EXPECTED: what `data.root` must contain, for error messages.
        RANKED_TYPE: JSON type of image ids in ranking files, str or int.
        SUBMISSION_LENGTH: number of ids that the dataset's server requires for each query; None if it requires none.
    """

    EXPECTED: str
    RANKED_TYPE: type
    SUBMISSION_LENGTH: int | None

    def read(self, data: Data, splits: Sequence[str]) -> Annotations:
        """Reads the annotation files of the given splits, a subset of "train", "val" and "test".

        Raises:
            ConfigError: the dataset does not have one of the splits.
        """
        ...

    def protocol(self, data: Data) -> records.Protocol:
        """Returns how the dataset is scored."""
        ...

    def ranking_files(
        self, split: Split, ranked: Sequence[Sequence[str]], within: Sequence[Sequence[str]]
    ) -> dict[str, Any]:
        """Returns a split's rankings in the dataset's submission layout: file name -> JSON content.

        Args:
            ranked: for each triplet the ids of the best images, best first.
            within: the same within its image set only; empty lists without image sets.
        """
        ...

    def recognizes(self, record: Record, in_array: bool) -> bool:
        """Whether a record is from an annotation file of this format.

        Args:
            in_array: whether the file is one JSON array; otherwise it is JSON Lines.
        """
        ...

    def read_annotation_file(self, source: Source, path: Path) -> Iterator[Triplet]:
        """Yields the triplets of one annotation file without checking image ids; targets may be missing."""
        ...
