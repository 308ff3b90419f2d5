"""What a service takes from the environment of its processes: where the index is, and whether there is a key.

In a cluster each node has an environment of its own. One that lacks a variable would search another index, or let
everybody in, without a word: so whoever deploys says what it saw, and a replica that sees something else refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

from cirray.config.indexing import IndexAccess
from cirray.config.serving import Serving
from cirray.errors import ConfigError
from cirray.index import open_backend
from cirray.index.backend import IndexBackend
from serve.access import Access

# The share of a request's time that one call of the index, or the first one of an encoder, may take.
PATIENCE = 0.25
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class DeploymentEnvironment:
    """Where the index is, and whether CIRRAY_API_KEY is set. Neither tells a secret."""

    index: str
    has_key: bool

    @classmethod
    def of(cls, backend: IndexBackend) -> DeploymentEnvironment:
        """Returns what this process sees."""
        return cls(backend.where, Access.from_environment().key_needed)

    def check(self, found: DeploymentEnvironment) -> None:
        """Raises ConfigError if a replica found something else than was expected."""
        if found.index != self.index:
            raise ConfigError(
                f"the index is at {self.index} for the one who deployed and at {found.index} here: set QDRANT_URL "
                f"alike on all nodes (or give an absolute folder that all nodes share)"
            )
        if found.has_key != self.has_key:
            raise ConfigError("CIRRAY_API_KEY is set on some nodes only: set it on all of them, or on none")


def open_index(settings: Serving) -> IndexBackend:
    """Opens the index as a search service does: with less patience than an indexing job."""
    patience = settings.timeout_s * PATIENCE
    return open_backend(
        IndexAccess(path=settings.index, collection=settings.collection, timeout_s=patience, attempts=_ATTEMPTS)
    )
