"""Title -> image retrieval: how well queries of text alone find the images that they describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cirray.evaluation.metrics import recall_at
from cirray.evaluation.ranking import target_ranks
from cirray.evaluation.ranks import Ranks
from cirray.models.bundle import Model

KS = (1, 10)
BATCH = 256


@torch.inference_mode()
def title_recall(
    model: Model, images: Sequence[str], unit_images: Tensor, titles: Mapping[str, str]
) -> dict[str, float]:
    """Returns R@1 and R@10 of titles as queries of text alone, each with its own image as the only target.

    Titles that several images share count as the ranking has them: one of the images is first.

    Args:
        images: ids of the gallery, which are the rows of `unit_images`.
        unit_images: the gallery, unit image features [M, d].
        titles: id -> title; those of images outside the gallery are not queries. At least one is inside.

    Raises:
        FloatingPointError: a feature is not finite.
    """
    titled = torch.tensor([row for row, image in enumerate(images) if image in titles])
    texts = [titles[images[row]] for row in titled.tolist()]
    queries = torch.cat([model.encode_text(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)])
    gallery = unit_images.to(queries.device)
    ranks = Ranks(target_ranks(queries, gallery, titled.to(queries.device)).cpu().numpy())
    return recall_at(ranks, KS)
