"""What the loop needs to know of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from cirray.config.training import TrainConfig
from cirray.data.records import Protocol
from cirray.data.table import TripletTable
from cirray.evaluation.metrics import selection_value
from cirray.evaluation.retriever import Retriever, evaluate
from cirray.storage.location import Location
from cirray.training.sampling import Batch


@dataclass(frozen=True, slots=True)
class StageInputs:
    """All that a worker needs to build its stage; plain data, so that it travels to any node.

    Attributes:
        config: the run's configuration.
        encoder: the encoder that the stage starts from.
        store: the feature store.
        image_keys: content key of each row of the image table.
        train: the triplets to train on.
        val: the triplets that pick the best epoch: those held back, or the dataset's own val.
        protocol: how validation scores.
        titled: image rows that have a title, with their titles (stage 0).
    """

    config: TrainConfig
    encoder: Location
    store: Location
    image_keys: tuple[str, ...]
    train: TripletTable
    val: TripletTable
    protocol: Protocol
    titled: tuple[tuple[int, str], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found.

    Attributes:
        metrics: "category metric" -> value, such as "average R@10"; empty where a stage ranks nothing.
        selection: the number that picks the best epoch.
    """

    metrics: dict[str, float]
    selection: float

    @classmethod
    def of(cls, retriever: Retriever, protocol: Protocol) -> Validation:
        """Scores a retriever by the dataset's protocol."""
        found = evaluate(retriever, protocol)
        metrics = {f"{one.category} {name}": value for one in found for name, value in one.metrics.items()}
        return cls(metrics, selection_value(found[-1].metrics, protocol))


class Task(ABC):
    """One stage's model, data and loss. The loop owns the optimizer, the schedule, and everything about time."""

    examples: int
    unit: str = "triplets"

    @abstractmethod
    def modules(self) -> Mapping[str, nn.Module]:
        """Returns the modules that hold what is trained, by name."""

    def begin(self) -> None:  # noqa: B027 - most stages need nothing
        """Gets ready for an epoch; what it computes depends on the weights alone, so that resumed runs equal others."""

    @abstractmethod
    def backward(self, batch: Batch, grad_scale: Callable[[Tensor], Tensor]) -> Tensor:
        """Runs forward and backward for this worker's share; returns its share of the global batch's mean loss."""

    @abstractmethod
    def validate(self, epoch: int) -> Validation:
        """Scores the current weights; called by all workers together."""

    def trained(self) -> dict[str, nn.Parameter]:
        """Returns the named parameters that get gradients."""
        return {
            f"{prefix}.{name}": parameter
            for prefix, module in self.modules().items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
