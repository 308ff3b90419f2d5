"""The environment variables of a deployment: location of the index, and presence of an API key.

Each node of a cluster has its own environment. A node without a variable would silently search another index, or need
no key. So the process that deploys passes what it found, and a replica with another environment fails.
"""

from __future__ import annotations

from dataclasses import dataclass

from cirray.config.indexing import IndexAccess
from cirray.config.serving import Serving
from cirray.errors import ConfigError
from cirray.index import open_backend
from cirray.index.backend import IndexBackend
from serve.access import Access

# Fraction of a request's time limit that one call of the index, or the first one of an encoder, may take.
PATIENCE = 0.25
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class DeploymentEnvironment:
    """Location of the index, and whether CIRRAY_API_KEY is set; contains no secret."""

    index: str
    has_key: bool

    @classmethod
    def of(cls, backend: IndexBackend) -> DeploymentEnvironment:
        """Returns the environment of this process."""
        return cls(backend.where, Access.from_environment().key_needed)

    def check(self, found: DeploymentEnvironment) -> None:
        """Raises ConfigError if a replica's environment differs from this one."""
        if found.index != self.index:
            raise ConfigError(
                f"the index is at {self.index} for the process that deployed and at {found.index} on this node: set "
                f"QDRANT_URL to the same value on all nodes, or give an absolute folder that all nodes share"
            )
        if found.has_key != self.has_key:
            raise ConfigError("CIRRAY_API_KEY is set on some nodes only: set it on all nodes, or on none")


def open_index(settings: Serving) -> IndexBackend:
    """Opens the index with shorter timeouts and fewer attempts than an indexing job."""
    patience = settings.timeout_s * PATIENCE
    return open_backend(
        IndexAccess(path=settings.index, collection=settings.collection, timeout_s=patience, attempts=_ATTEMPTS)
    )
