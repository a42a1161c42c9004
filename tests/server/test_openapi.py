"""The API against its own description: what schemathesis makes of the document, sent to a real server by somebody of one tenant and by root."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from reconciler.server.openapi import document
from reconciler.server.routes import ROUTES
from reconciler.server.site import COOKIE
from tests.gate.site import Site
from tests.server.site import CSRF, Web, web
from tests.server.tenants import CALLERS, change_both, pull_of, two_tenants

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
"""Not that whatever fits the schema is taken: a cursor is a text, and not any text is a cursor."""
HEADERS = {
    "a token of one tenant": {"Authorization": "Bearer token:shop"},
    "the session of root": {"Cookie": f"{COOKIE}=github:root", "X-CSRF-Token": CSRF},
}
EXAMPLES = 12
SCHEMA = schemathesis.openapi.from_dict(document(ROUTES))
OPERATIONS: dict[str, APIOperation] = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("openapi")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}")
    change_both(made)
    made.begin()
    return made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


@pytest.fixture(scope="module")
def names(served: Web, site: Site) -> dict[str, str]:
    """What stands for the names of paths, and for a host that is asked about, where it is there."""
    there, ran = pull_of(site, "shop", 7), served.api("/runs", "token:shop").json["items"][-1]
    pull = {"forge": there.forge, "project": there.project, "number": str(there.number)}
    host = {"tenant": "shop", "name": "web-01", "file": "cloud-init/meta-data", "ref": "host/shop/web-01"}
    return pull | host | {"run": ran["run"], "plan": ran["plan"]}


def test_the_document_is_openapi() -> None:
    validate(document(ROUTES))


def test_everybody_may_read_it(served: Web) -> None:
    answer = served.ask("GET", "/api/v1/openapi.json")
    assert (answer.status, answer.headers["Content-Type"], answer.json) == (200, "application/json", document(ROUTES))


def test_every_route_is_in_it() -> None:
    assert len(OPERATIONS) == len(ROUTES)


@pytest.mark.parametrize("who", HEADERS)
@pytest.mark.parametrize("label", OPERATIONS)
def test_what_is_answered_is_as_described(served: Web, names: dict[str, str], label: str, who: str) -> None:
    operation, headers = OPERATIONS[label], HEADERS[who]
    checks = [*CHECKS, ignored_auth] if "Authorization" in headers else CHECKS  # with a cookie, a header that is no token says nothing

    @seed(7)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), real=st.booleans())
    def conforms(case: Case, real: bool) -> None:
        if real:
            for given in (case.path_parameters, case.query):
                given.update({name: text for name, text in names.items() if name in given})
        case.call_and_validate(base_url=f"http://127.0.0.1:{served.port}", headers=headers, checks=checks)

    conforms()
