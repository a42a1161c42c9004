"""Whatever happened before: a plan made with the index that is there says what a plan made without one says."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.drivers.memory import Fault
from reconciler.errors import InputError, OctofleetError
from reconciler.store.observations import drop_observations
from reconciler.store.records import drop_records, records_of_group
from reconciler.types.request import Request
from tests.desired.test_incremental import ANSIBLE, PLAY, SET, START, variants
from tests.fleets import FLEET, TENANT, host
from tests.planning.histories import EXECUTABLE, LINK, MODULE, File, History, Site

MODES: dict[str, list[File]] = {
    "fleet.yaml": [FLEET.replace("name: test", "name: renamed"), FLEET + "  guards: {maxDeletePercent: 100}\n"],
    "tenant.yaml": [TENANT.replace("shop", "lab")],
    "second.yaml": [
        TENANT.replace("shop", "lab"),
        host("lab-01", 30, tenant="lab"),
        host("web-01", 30, tenant="lab", metadata="  moved: {from: shop/web-01}\n"),
    ],
    "hosts/one.yaml": [
        (LINK, "two.yaml"),
        (EXECUTABLE, host("web-01", 1)),
        None,
        host("new-01", 1, metadata="  moved: {from: web-01}\n"),
        host("web-01", 1, metadata="  onDelete: forget\n"),
        host("web-01", 1, spec="  protect: true\n"),
    ],
    "hosts/one.yaml/inside.yaml": [host("web-06", 6)],
    "hosts/secret.yaml": [host("web-05", 5, spec="  vars: {p: {secretRef: {store: env, key: KEY}}}\n")],
    "set.yaml": [SET.replace("COUNT", "1").replace("FIRST", "20"), None],
    "t/one.j2": [(EXECUTABLE, "one"), (LINK, "two.j2"), (MODULE, "1" * 40), (MODULE, "2" * 40), None],
    "t/one.j2/inside": ["x"],
    "ansible/roles": [(MODULE, "1" * 40), (MODULE, "2" * 40)],
    ".octofleetignore": ["ansible\n", "*.yml\n"],
    "b\udcff.yaml": [PLAY],
}
VARIANTS: dict[str, list[File]] = {path: [*variants().get(path, []), *MODES.get(path, [])] for path in {*variants(), *MODES}}
BEGUN: dict[str, File] = {**START, "role.yaml": ANSIBLE, "hosts/many.yaml": VARIANTS["hosts/many.yaml"][2]}
HOSTS = ("web-01", "web-02", "web-03", "web-05", "worker-1", "worker-2", "lab-01")
KINDS = ("fleet/host", "memory/machine", "memory/config", "boot/ipxe")


def without_clashes(files: dict[str, File]) -> dict[str, File]:
    """No path may be a file and a directory at once: the directory wins."""
    return {
        path: text
        for path, text in files.items()
        if text is None or not any(other.startswith(f"{path}/") and files[other] is not None for other in files)
    }


EDITS = st.lists(
    st.sampled_from(sorted(VARIANTS)).flatmap(lambda path: st.tuples(st.just(path), st.sampled_from([None, *VARIANTS[path]]))),
    min_size=1,
    max_size=3,
)
NAMES = st.sampled_from(HOSTS)
SCOPES = st.sampled_from(["", "", "host/shop/web-*", "host/shop/web-01", "tenant/shop", "memory/*/*/*", "fleet/*/*/*"])
STEPS = st.one_of(
    st.tuples(st.just("commit"), EDITS),
    st.tuples(st.just("commit"), EDITS),
    st.tuples(st.just("branch"), EDITS),
    st.tuples(st.just("merge"), st.none()),
    st.tuples(st.just("apply"), SCOPES),
    st.tuples(st.just("apply"), st.just("")),
    st.tuples(st.just("fail"), st.sampled_from(["memory/machine/*", "memory/*/web-01", "memory/*"])),
    st.tuples(st.just("forget"), NAMES),
    st.tuples(st.just("secret"), st.sampled_from(["one", "two", None])),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("delete"), st.none()),
    st.tuples(st.just("version"), st.sampled_from([1, 2])),
    st.tuples(st.just("drift"), NAMES),
    st.tuples(st.just("heal"), st.none()),
)
REQUESTS = st.one_of(
    st.just({}),
    st.just({}),
    st.just({"rev": "side", "base": "main"}),
    st.just({"rev": "main", "base": "first"}),
    st.just({"rev": "first"}),
    st.just({"refresh": True}),
    st.just({"rev": "side", "accept_history": True}),
    SCOPES.map(lambda scope: {"scope": scope}),
)


@contextmanager
def site(at_most: int = 1000) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        for key in ("DB", "KEY"):
            patch.setenv(f"SITE_SECRET_{key}", "zero")
        made = Site(history=History(Path(root, "git"), BEGUN), data=Path(root, "data"), at_most=at_most)
        made.history.git.references.create("refs/heads/first", made.history.head())
        made.history.git.references.create("refs/heads/side", made.history.head())
        try:
            yield made
        finally:
            made.restart()


def do(made: Site, what: str, how: Any) -> None:
    """One step of a history."""
    history = made.history
    match what:
        case "commit" | "branch":
            files = dict(history.files) | dict(how)
            kept = without_clashes(files)
            history.commit({path: kept.get(path) for path in files}, "main" if what == "commit" else "side")
        case "merge":
            history.git.references.create("refs/heads/side", history.head(), force=True)
        case "apply":
            apply(made, Request(scope=how, accept_history=True))
        case "fail":
            made.world.fail(how, Fault.UNKNOWN)
            apply(made, Request())
            made.world.heal()
        case "forget":
            with made.installation.store.write() as connection:
                found = records_of_group(connection, f"host/shop/{how}")
                drop_records(connection, found)
                drop_observations(connection, found)
        case "secret" if how is None:
            os.environ.pop("SITE_SECRET_DB", None)
            fresh_secrets(made)
        case "secret":
            os.environ["SITE_SECRET_DB"] = how
            fresh_secrets(made)
        case "restart":
            made.restart()
        case "delete":
            made.restart()
            for file in made.data.glob("index/*"):
                file.unlink()
        case "version":
            made.restart()
            made.version = how
        case "drift":
            for where in list(made.world.things()):
                if where.endswith(f"/{how}"):
                    made.world.remove(where)
        case "heal":
            made.world.heal()


def fresh_secrets(made: Site) -> None:
    """A process that goes on may remember what it read."""
    made.restart()


def apply(made: Site, request: Request) -> None:
    with suppress(InputError, OctofleetError):
        made.apply(request)


@settings(max_examples=int(os.environ.get("EXAMPLES", "40")), deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(steps=st.lists(st.tuples(STEPS, REQUESTS), min_size=2, max_size=10), applied=st.booleans(), at_most=st.sampled_from([0, 1, 1000]))
def test_any_history(steps: list[tuple[tuple[str, Any], dict[str, Any]]], applied: bool, at_most: int) -> None:
    """With few hosts to look at most, very many are decided about at once."""
    with site(at_most) as made:
        if applied:
            apply(made, Request())
        for (what, how), request in steps:
            do(made, what, how)
            made.agrees(Request(**request))
