"""The interface between the training loop and a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from cirray.config.training import TrainConfig
from cirray.data.attribute_classes import AttributeClasses
from cirray.data.records import Protocol
from cirray.data.table import TripletTable
from cirray.evaluation.metrics import selection_value
from cirray.evaluation.retriever import Retriever, evaluate
from cirray.models.combining import CombiningFunction
from cirray.storage.location import Location
from cirray.training.sampling import Batch


@dataclass(frozen=True, slots=True)
class StageInputs:
    """The inputs from which a worker builds its stage. They can be pickled and sent to any node.

    Attributes:
        config: the run's configuration.
        encoder: the encoder from which the stage starts.
        store: the feature store.
        image_keys: content key of each row of the image table.
        train: the training triplets.
        val: the triplets that select the best epoch: the held-out ones, or the dataset's val split.
        protocol: the evaluation protocol of validations.
        titled: (image row, title) of all images with titles, for stage 0.
        attributes: the attribute values of these images, for stage 0; None if there are none or they are not used.
        combining: the trained combining function, for stage 3.
    """

    config: TrainConfig
    encoder: Location
    store: Location
    image_keys: tuple[str, ...]
    train: TripletTable
    val: TripletTable
    protocol: Protocol
    titled: tuple[tuple[int, str], ...] = field(default=())
    attributes: AttributeClasses | None = None
    combining: CombiningFunction | None = None


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of a validation.

    Attributes:
        metrics: "category metric" -> value, such as "average R@10"; empty if the stage does not rank.
        selection: the value that selects the best epoch.
    """

    metrics: dict[str, float]
    selection: float

    @classmethod
    def of(cls, retriever: Retriever, protocol: Protocol) -> Validation:
        """Scores a retriever by the dataset's protocol."""
        results = evaluate(retriever, protocol)
        metrics = {f"{result.category} {name}": value for result in results for name, value in result.metrics.items()}
        return cls(metrics, selection_value(results[-1].metrics, protocol))


class Task(ABC):
    """The model, data and loss of one stage. The loop owns optimizer, schedule, checkpoints and progress.

    Attributes:
        examples: number of training examples.
        unit: name of the examples, in the plural.
    """

    examples: int
    unit: str = "triplets"

    @abstractmethod
    def modules(self) -> Mapping[str, nn.Module]:
        """Returns the modules with trained parameters, by name."""

    def begin(self) -> None:  # noqa: B027 - optional
        """Prepares an epoch. The result may depend only on the weights, so that resumed runs give equal results."""

    @abstractmethod
    def backward(self, batch: Batch, grad_scale: Callable[[Tensor], Tensor]) -> Tensor:
        """Runs forward and backward for this worker's share of a batch.

        Args:
            batch: the global batch.
            grad_scale: scales the loss before the backward pass.

        Returns:
            This worker's part of the global batch's mean loss, a detached scalar.
        """

    @abstractmethod
    def validate(self, epoch: int) -> Validation:
        """Scores the current weights. All workers call it together."""

    def trained(self) -> dict[str, nn.Parameter]:
        """Returns the trained parameters by name."""
        return {
            f"{prefix}.{name}": parameter
            for prefix, module in self.modules().items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
