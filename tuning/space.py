"""Search spaces: YAML files to Optuna distributions.

    stage2.optimisation.lr: {loguniform: [1.0e-4, 1.0e-2]}
    stage2.combining.projection: {choice: [256, 512]}

Kinds: choice [values], uniform [low, high], loguniform [low, high], integer [low, high], logint [low, high].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from cirray.config.recipe import overridden
from cirray.config.tuning import TuneConfig
from cirray.config.unknown import check_field
from cirray.errors import ConfigError

FOLDER = Path(__file__).parent / "spaces"
KINDS = ("choice", "uniform", "loguniform", "integer", "logint")


@dataclass(frozen=True, slots=True)
class Domain:
    """The domain of one field."""

    kind: str
    values: tuple[Any, ...]

    def distribution(self) -> BaseDistribution:
        """Returns the domain as an Optuna distribution."""
        if self.kind == "choice":
            return CategoricalDistribution(self.values)
        low, high = self.values
        if self.kind in ("integer", "logint"):
            return IntDistribution(low, high, log=self.kind == "logint")
        return FloatDistribution(low, high, log=self.kind == "loguniform")

    def holds(self, value: Any) -> bool:
        """Whether the domain contains the value."""
        if self.kind == "choice":
            return value in self.values
        return isinstance(value, (int, float)) and self.values[0] <= value <= self.values[1]

    def points(self, count: int) -> list[Any]:
        """Returns `count` evenly spaced values (on the log scale of log domains); all values of a choice."""
        if self.kind == "choice":
            return list(self.values)
        low, high = (math.log(value) if self.is_log else value for value in self.values)
        steps = [low + (high - low) * step / (count - 1) for step in range(count)]
        spread = [float(f"{math.exp(step) if self.is_log else step:.3g}") for step in steps]
        return list(dict.fromkeys(round(value) for value in spread)) if "int" in self.kind else spread

    @property
    def is_log(self) -> bool:
        """Whether factors matter, not differences."""
        return self.kind in ("loguniform", "logint")


@dataclass(frozen=True, slots=True)
class Space:
    """Field -> domain."""

    name: str
    domains: Mapping[str, Domain]

    def distributions(self) -> dict[str, BaseDistribution]:
        """Returns field -> Optuna distribution."""
        return {field: domain.distribution() for field, domain in self.domains.items()}


def space_names() -> list[str]:
    """Returns the names of the search spaces that come with cirray."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_space(name: str, config: TuneConfig) -> Space:
    """Reads a search space and validates the ends of its domains against a configuration.

    Args:
        name: name of a file in `spaces/`, or path of a .yaml file.
        config: the configuration to search from.

    Raises:
        ConfigError: the file does not exist, or it contains an unknown field (the message suggests the nearest one), an
            invalid domain, or values that the configuration does not accept.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"no search space {name}: there are {', '.join(space_names())}; or give a .yaml file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"search space {path} is not YAML: {error}") from None
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"search space {path} must be a mapping of fields to domains, and not empty")
    domains = {str(field): _domain(path, str(field), given) for field, given in content.items()}
    stage = config.trial_stage
    for field, domain in domains.items():
        check_field(type(config), field)
        if not field.startswith(f"{stage}."):
            raise ConfigError(f"search space {path}: {field} is not of {stage}, which is searched (tune.stage)")
        for value in domain.values:
            overridden(config, {field: value})
    return Space(path.stem, domains)


def _domain(path: Path, field: str, given: Any) -> Domain:
    where = f"search space {path}: {field}"
    if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in KINDS:
        raise ConfigError(f"{where} must be one of {', '.join(KINDS)} with its values, not {given!r}")
    ((kind, values),) = given.items()
    if not isinstance(values, list) or len(values) < 2 or (kind != "choice" and len(values) != 2):
        raise ConfigError(f"{where}: {kind} wants {'two or more values' if kind == 'choice' else '[low, high]'}")
    if kind != "choice":
        low, high = values
        if not all(isinstance(value, (int, float)) for value in values) or not low < high:
            raise ConfigError(f"{where}: {kind} wants two numbers, the lower one first, not {values}")
        if kind in ("loguniform", "logint") and low <= 0:
            raise ConfigError(f"{where}: {kind} wants numbers above 0, not {values}")
    return Domain(kind, tuple(values))
