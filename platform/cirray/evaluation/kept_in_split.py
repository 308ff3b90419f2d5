"""asked-kept@K and unasked-kept@K of a split's queries, for datasets whose catalog.jsonl has attributes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cirray.data.attribute_values import comparable_values
from cirray.data.catalog import Entry
from cirray.data.records import Dataset, Protocol
from cirray.evaluation.attributes_kept import ABSENT, KS, NOT_WANTED, AttributeTable, percent_kept
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.reranked import RerankedRetriever


def attribute_table(items: Sequence[Entry], dataset: Dataset) -> AttributeTable | None:
    """Returns the comparable attributes of a dataset's images; None if there are none.

    Args:
        items: the items of its catalog.jsonl; images that are no item have no values.
        dataset: the dataset; the rows of the table are those of its image table.
    """
    values = comparable_values(items)
    table = AttributeTable.of({image: values.get(image, {}) for image in dataset.images})
    return table if table.names else None


def kept_in_category(
    retriever: CosineRetriever | RerankedRetriever, attributes: AttributeTable, protocol: Protocol, category: str
) -> dict[str, float]:
    """Returns asked-kept@K and unasked-kept@K of a category's queries, in percent (`percent_kept`).

    Asked are the attributes whose values differ between reference and target, unasked those with equal values. Queries
    whose reference or target has no values are left out. An answer without a value does not have the wanted one.

    Args:
        retriever: ranks the galleries.
        attributes: the attributes of the images, rows as in the retriever's table.
        protocol: the dataset's protocol, which decides whether references are answers.
        category: name of the category.
    """
    table = retriever.table
    members, _ = table.categories[category]
    scores, images = retriever.best(category, max(KS), protocol.exclude_reference)
    answers = images.masked_fill(scores.isneginf(), -1).cpu().numpy()  # -inf: the excluded reference
    reference, target = (rows[members].cpu().numpy() for rows in (table.reference, table.target))
    return percent_kept(attributes.values, answers, *asked_and_unasked(attributes.values, reference, target))


def asked_and_unasked(
    values: NDArray[np.int64], reference: NDArray[np.int64], target: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns what queries ask for and what they do not, judged by their targets: two int64 [Q, A], -1 for the rest.

    Asked are the values of the target that differ from the reference's, unasked those that are equal in both. A value
    that either of the two lacks is neither.

    Args:
        values: int64 [I, A], as in `AttributeTable`.
        reference, target: int64 [Q], rows of the table.
    """
    before, after = values[reference], values[target]
    known = (before != ABSENT) & (after != ABSENT)
    asked, unasked = (np.where(known & which, after, NOT_WANTED) for which in (before != after, before == after))
    return asked, unasked
