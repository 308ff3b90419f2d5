"""Every endpoint, fuzzed from the service's own OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.openapi import from_url
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.service_fixtures import Shop, listening, memory_backend

KEY = "fuzzed"
OPERATIONS = (
    "POST /v1/search",
    "GET /v1/items",
    "GET /v1/items/{id}",
    "GET /v1/items/{id}/image",
    "GET /v1/model",
    "POST /v1/items/batch",
    "PUT /v1/items/{id}",
    "DELETE /v1/items/{id}",
    "POST /v1/feedback",
    "GET /healthz",
    "GET /readyz",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    # Schemathesis' own strategies
    pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"),
]


@pytest.fixture(scope="module")
def operations(shop: Shop) -> Iterator[dict[str, APIOperation]]:
    """What is described by a service whose index can be written, so that writes are reached too."""
    with listening(shop, memory_backend(shop), KEY) as address:
        schema = from_url(f"{address}/openapi.json")
        found = [result.ok() for result in schema.get_all_operations()]
        yield {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def test_every_operation_is_fuzzed(operations: dict[str, APIOperation]) -> None:
    assert sorted(operations) == sorted(OPERATIONS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "does-not-fit"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_breaks_the_service(operations: dict[str, APIOperation], name: str, mode: GenerationMode) -> None:
    if mode is GenerationMode.NEGATIVE and name in ("GET /healthz", "GET /readyz", "GET /v1/model"):
        pytest.skip("takes no input that could be wrong")

    # A schema cannot say all: which fields go together, which pictures decode, which items there are.
    @given(case=operations[name].as_strategy(generation_mode=mode))
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    def check(case: Case) -> None:
        case.call_and_validate(headers={"X-API-Key": KEY}, excluded_checks=[positive_data_acceptance])

    check()
