"""The description of the interface is true: what is generated from it is answered as it says, and never with a 5xx."""

from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from support_recorder import recording_engine
from tinkex.engine._http._openapi import describe, types_of
from tinkex.engine._http._routes import ROUTES

schemathesis: Any = import_module("schemathesis")
checks: Any = import_module("schemathesis.specs.openapi.checks")
CHECKS = [
    import_module("schemathesis.checks").not_a_server_error,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.status_code_conformance,
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    root: Path = tmp_path_factory.mktemp("engine")
    with recording_engine(root) as (found, recorder):
        yield found
        assert recorder.broken == []


SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
interface: Any = schemathesis.openapi.from_dict(describe(ROUTES, "1.0"), config=schemathesis.Config(seed=7))


@pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload")  # protobuf has its own fuzzing
@interface.parametrize()  # type: ignore[untyped-decorator]
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=SLOW, database=None)
def test_what_the_description_allows_is_answered_as_it_says(case: Any, url: str) -> None:
    case.call_and_validate(base_url=url, checks=CHECKS, allow_redirects=False)


def test_every_route_is_described() -> None:
    """With its types, a sentence, and a name of its own."""
    document = describe(ROUTES, "1.0")
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len(operations) == len(ROUTES)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"].endswith(".") for operation in operations)
    assert all(types_of(route) for route in ROUTES)
    (path,) = (path for path in document["paths"] if path.endswith("/ttl"))
    assert [one["name"] for one in document["paths"][path]["put"]["parameters"]] == ["run", "kind", "name"]
    passes = document["paths"]["/api/v1/forward_backward"]["post"]["requestBody"]["content"]
    assert list(passes) == ["application/json", "application/x-protobuf"]
