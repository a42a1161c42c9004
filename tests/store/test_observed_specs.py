"""Observed specifications are not held twice: one that the table `spec` has is found there by its digest."""

from reconciler.store.engine import Connection
from reconciler.store.observations import load_observations, save_observations
from reconciler.store.records import save_specs
from reconciler.types.canonical import digest, unpack
from reconciler.types.observation import Present
from reconciler.types.values import Secret, SecretRef

SPEC = {"p": Secret(ref=SecretRef(store="s", key="k"), token="t" * 64), "text": "long " * 100}
WHERE = "m/k/shop/a"


def present(at: float = 1.0) -> Present:
    return Present(spec=SPEC, digest=digest(SPEC), at=at, external_id="id")


def save(connection: Connection, *seen: Present) -> None:
    for item in seen:
        save_observations(connection, {WHERE: item}, {WHERE: True})


def body(connection: Connection) -> dict[str, object]:
    found: dict[str, object] = unpack(connection.scalar("SELECT body FROM observation"))
    return found


def test_a_stored_specification_is_not_stored_again(connection: Connection) -> None:
    save_specs(connection, [SPEC])
    save(connection, present())
    assert body(connection) == {"externalId": "id"}
    assert load_observations(connection, [WHERE]) == {WHERE: present()}


def test_one_that_is_stored_nowhere_stays_with_the_observation(connection: Connection) -> None:
    save(connection, present())
    assert body(connection) == {"externalId": "id", "spec": SPEC} and load_observations(connection, [WHERE]) == {WHERE: present()}
    save_specs(connection, [SPEC])
    assert load_observations(connection, [WHERE]) == {WHERE: present()}
    save(connection, present(at=2.0))
    assert body(connection) == {"externalId": "id"} and load_observations(connection, [WHERE]) == {WHERE: present(at=2.0)}


def test_an_observation_whose_specification_is_gone_counts_as_none(connection: Connection) -> None:
    save_specs(connection, [SPEC])
    save(connection, present())
    connection.run("DELETE FROM spec")
    assert load_observations(connection, [WHERE]) == {}
