"""`octofleet --server URL`: the real command against a real server, with tokens that the installation made."""

import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from reconciler import accounts
from reconciler.cli import remote_showing
from reconciler.cli.main import COMMANDS, REMOTE
from reconciler.cli.remote_showing import MOST_TRIES
from reconciler.errors import OctofleetError
from reconciler.identity.access import Action, Identity
from reconciler.reading import making, plan_words
from reconciler.reading.call import Call
from reconciler.reading.run_page import RunPage
from reconciler.report.parts import LinePart
from reconciler.server.opening import DOORS
from reconciler.store.followed import follow
from reconciler.store.installs import end, open_installations
from reconciler.types.installation import State
from tests.fleets import Result, host, octofleet
from tests.gate.site import Site
from tests.server.certificates import write_pair
from tests.server.site import web
from tests.server.tenants import OF_BANK, change_both, install, two_tenants

HERE = Identity(name="local:root", here=True)
LEAD = """apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: lead, tenant: shop}
spec: {bindings: [{role: approver, subjects: ["token:lead"]}]}
"""

RUN = {
    "run": "r", "source": "s", "state": "running", "plan": "p", "commit": "c", "startedAt": 0.0, "endedAt": None, "reason": "", "changes": {}, "whole": True,
    "phases": [], "waves": [], "waits": [], "failed": [], "said": "", "rollback": "", "held": False, "log": [],
}  # fmt: skip


class Asking:
    """The command with a server, as somebody with a token."""

    def __init__(self, path: Path, url: str, token: str) -> None:
        self.path, self.url, self.token = path, url, token

    def __call__(self, *args: str, url: str = "", token: str = "", **env: str) -> Result:
        said = {"OCTOFLEET_TOKEN": token or self.token} | env
        found = octofleet(self.path / "nothing", "--server", url or self.url, *args, env=said)
        assert "Traceback" not in found.text and not (self.path / "nothing").exists(), "nothing is kept where the command runs"
        return found

    def error(self, *args: str, **env: str) -> tuple[str, str]:
        found = self(*args, "--json", **env)
        assert found.code == 1, found.text
        return found.json["error"]["code"], found.json["error"]["message"]


def token(site: Site, identity: str, *actions: Action, expires_s: float = 3600.0) -> str:
    made = accounts.create_token(site.installation, "ci", identity=identity, actions=actions or [*Action], expires_s=expires_s, by=HERE)
    return made[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("remote")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}")
    made.repo.commit({"lead.yaml": LEAD})
    made.settle()
    with made.store.write() as connection:
        follow(connection, str(made.repo.path))
    return made


@pytest.fixture(scope="module")
def asked(site: Site) -> Iterator[Asking]:
    """An operator of the tenant `shop`."""
    with web(site.installation, by=DOORS) as served:
        yield Asking(site.path, f"http://127.0.0.1:{served.port}", token(site, "token:shop"))


@pytest.fixture
def plan(site: Site, asked: Asking) -> str:
    """A plan that changes a host of each tenant."""
    spec = "  packages: [strace]\n"
    site.repo.commit({"host-1.yaml": host("web-01", 1, spec=spec), "vault-1.yaml": host("vault-01", 101, tenant="bank", spec=spec)})
    made = site.plan()
    assert {change.group for change in made.plan.changes} >= {"host/shop/web-01", "host/bank/vault-01"}
    return made.plan.id


@contextmanager
def working(site: Site) -> Iterator[None]:
    """Workers, as a server has them, while the block lasts."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            site.work()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_part_of_the_fleet_is_planned_approved_and_applied(asked: Asking, site: Site) -> None:
    change_both(site)
    shown = asked("plan", "--scope", "tenant/shop")
    assert shown.code == 2 and "host/shop/web-01" in shown.out and "htop" in shown.out, shown.text
    made = asked("plan", "--scope", "tenant/shop", "--repo", str(site.repo.path), "--json")
    assert made.code == 2 and made.json["tenants"] == ["shop"] and f"apply {made.json['plan'][:12]}" in shown.out
    which = made.json["plan"][:12]
    lead = token(site, "token:lead")
    assert asked.error("reject", which, "--reason", "why")[0] == "forbidden"
    said = asked("reject", which, "--reason", "not today", token=lead)
    assert said.code == 0 and "rejected by token:lead" in said.out
    refused = asked("apply", which, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (3, "approval")
    assert f"approve {which} --reason WHY" in asked("plan", "--scope", "tenant/shop").out, (
        "a plan that waits for a word says how it is said"
    )
    assert asked("approve", which, "--reason", "now", "--json", token=lead).json["approved"] is True
    with working(site):
        done = asked("apply", which, "--reason", "why not", "--json")
    assert done.code == 0 and done.json["state"] == "done" and done.json["reason"] == "why not"
    assert site.changed() == {"web-01"}
    again = asked("plan", "--scope", "tenant/shop", "--json")
    assert (again.code, again.json) == (0, {"changes": {}})
    listed = asked("runs", "--limit", "1")
    assert done.json["run"] in listed.out and "why not" in listed.out
    log = asked("logs", done.json["run"])
    assert log.code == 0 and "web-01" in log.out and f"run {done.json['run']}: done" in log.out
    assert asked("logs", done.json["run"], "--json").json["log"]
    followed = asked("logs", done.json["run"], "--follow")
    assert (followed.code, followed.out.splitlines()[:-1]) == (0, log.out.splitlines()[:-1])


def test_a_run_is_paused_resumed_and_cancelled(asked: Asking, site: Site) -> None:
    site.change(2, 3)
    which = asked("plan", "--scope", "tenant/shop", "--json").json["plan"]
    begun = asked("apply", which, "--detach", "--json")
    assert begun.code == 0 and begun.json["plan"] == which
    run = begun.json["run"]
    assert asked("status").code == 3 and run in asked("status", "--json").out
    assert "is paused" in asked("pause", run, "--reason", "lunch").out
    assert asked("resume", run, "--detach", "--json").json["state"] == "running"
    assert asked("pause", run, "--reason", "lunch", "--json").json["state"] == "paused"
    assert "is cancelled" in asked("cancel", run, "--reason", "no more").out
    assert asked("logs", run, "--follow").code == 1, "it did not come to its end"
    assert asked.error("cancel", run, "--reason", "again")[0] == "no-run"


def test_a_run_that_is_followed_ends_with_it(asked: Asking, site: Site) -> None:
    site.change(2, 3, spec="  packages: [strace]\n")
    which = asked("plan", "--scope", "tenant/shop", "--json").json["plan"]
    run = asked("apply", which, "--detach", "--json").json["run"]
    assert asked("pause", run, "--reason", "lunch").code == 0
    with working(site):
        followed = asked("resume", run)
    assert followed.code == 0 and "web-02" in followed.out and f"run {run}: done" in followed.out


def test_a_scope_is_paused_and_goes_on(asked: Asking) -> None:
    made = asked("pause", "tenant/shop", "--for", "2h", "--reason", "moving", "--json")
    assert made.code == 0 and made.json["until"] - made.json["at"] == 7200
    assert asked("resume", "tenant/shop", "--json").json == {"resumed": [made.json["id"]]}
    assert asked.error("pause", "tenant/shop", "--for", "long", "--reason", "moving")[0] == "usage"
    assert asked.error("pause", "tenant/bank", "--reason", "moving")[0] == "forbidden"


def test_a_plan_that_takes_long_is_waited_for(asked: Asking, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, real, again = threading.Event(), plan_words.make_plan, plan_words.again
    asked_again: list[str] = []

    def slow(*given: Any) -> Any:
        assert go_on.wait(60)
        return real(*given)

    def counted(call: Call, name: str) -> object:
        asked_again.append(name)
        if len(asked_again) == 2:
            go_on.set()
        return again(call, name)

    monkeypatch.setattr(making, "WITHIN_S", 0.0)
    monkeypatch.setattr(making, "AGAIN_WITHIN_S", 0.1)
    monkeypatch.setattr(plan_words, "make_plan", slow)
    monkeypatch.setattr(plan_words, "again", counted)
    made = asked("plan", "--scope", "tenant/shop", "--json")
    assert made.code == 2 and made.json["tenants"] == ["shop"] and len(asked_again) >= 2


def test_nothing_of_another_tenant_is_printed(asked: Asking, site: Site, plan: str) -> None:
    tasks = ("tasks",), ("tasks", "--slowest"), ("tasks", "--status", "failed", "--json")
    shown = [
        asked(*args) for args in (*tasks, ("status",), ("runs",), ("logs", site.rows("SELECT id FROM run")[0][0]), ("status", "--json"))
    ]
    assert all(found.out and not any(word in found.text for word in OF_BANK) for found in shown)
    code, message = asked.error("apply", plan)
    assert code == "forbidden" and not any(word in message for word in OF_BANK), message
    assert asked.error("plan")[0] == "forbidden", "all of the Fleet"
    nobody = token(site, "token:nobody")
    told = asked("status", token=nobody).out
    assert "nothing that you may see" in told and "RoleMapping" in told, "and what to do"
    assert asked.error("logs", site.rows("SELECT id FROM run")[0][0], token=nobody)[0] == "no-run"


def test_installations_are_told_and_steered(asked: Asking, site: Site) -> None:
    with site.store.write() as connection:
        for tenant, name in (("shop", "web-02"), ("bank", "vault-01")):
            install(connection, tenant, name)
    shown = [asked(*args) for args in (("installs",), ("installs", "--json"), ("installs", "host/shop/web-02"))]
    assert all("web-02" in found.out and not any(word in found.text for word in OF_BANK) for found in shown)
    assert (
        asked.error("installs", "host/bank/vault-01")[0] == asked.error("adopt", "host/bank/vault-01", "--reason", "mine")[0] == "no-host"
    )
    again = asked("installs", "host/shop/web-02", "--again", "--reason", "another card")
    assert "armed  generation 2, attempt 2 of 2" in again.out and "cancelled" in again.out
    assert asked.error("installs", "host/shop/web-02", "--sure", "--reason", "I am no approver")[0] == "forbidden"
    assert asked.error("adopt", "host/shop/web-02", "--reason", "it wants no generation")[0] == "no-generation"
    with site.store.write() as connection:
        for item in open_installations(connection):
            end(connection, item.id, State.CANCELLED, connection.now())


def test_a_token_that_is_not_good_for_it(asked: Asking, site: Site, plan: str) -> None:
    unknown = "oft_0000000000000000_" + "a" * 43
    assert asked.error("status", token=unknown)[0] == "unauthenticated"
    assert (
        "OCTOFLEET_TOKEN" in asked("status", token=unknown).text
        and "the URL of the server alone" in asked("status", url=asked.url + "/hosts").text
    )
    expired = token(site, "token:shop", expires_s=0.5)
    time.sleep(0.6)
    assert asked.error("status", token=expired)[0] == "unauthenticated"
    reads = token(site, "token:shop", Action.VIEW)
    assert asked("status", token=reads).code in (0, 2, 3)
    code, message = asked.error("apply", plan, token=reads)
    assert code == "forbidden" and "apply" in message
    assert asked.error("status", token=" ")[0] == "token" == asked.error("status", token="a b")[0]
    kept = site.path / "token"
    kept.write_text(f"{asked.token}\n")
    assert asked("status", OCTOFLEET_TOKEN="", OCTOFLEET_TOKEN_FILE=str(kept)).code in (0, 2, 3)
    assert asked.error("status", OCTOFLEET_TOKEN="", OCTOFLEET_TOKEN_FILE=str(site.path / "none"))[0] == "token"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("octofleet.example.com", "no URL"),
        ("ftp://octofleet.example.com", "no URL"),
        ("https://ada:pw@octofleet.example.com", "no URL"),
        ("https://octofleet.example.com:port", "no URL"),
        ("http://[::1", "no URL"),
        ("http://octofleet.example.com", "not asked without encryption"),
        ("http://127.0.0.1.example.com", "not asked without encryption"),
    ],
)
def test_a_url_that_is_not_asked(url: str, says: str, asked: Asking) -> None:
    code, message = asked.error("status", url=url)
    assert code == "usage" and says in message and "pw" not in message


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers, and is no server of Octofleet. `came`: the tokens that came."""

    came: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.came.append((self.path, self.headers["Authorization"]))
        body = {"/list": b"[]", "/text": b"hello", "/bytes": b"\xff\xfe", "/error": b"{}"}.get(
            self.path.removesuffix("/api/v1/status"), b"{}"
        )
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
        else:
            self.send_response(502 if self.path.startswith("/error") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def odd() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("path", ["", "/list", "/text", "/bytes", "/error", "/moved"])
def test_what_answers_is_no_server(path: str, odd: str, asked: Asking) -> None:
    Odd.came.clear()
    code, message = asked.error("status", url=odd + path)
    assert code == "server" and odd in message
    assert [where for where, _ in Odd.came] == [f"{path}/api/v1/status"], "a redirect is not followed"


def test_no_proxy_reads_the_token(odd: str, asked: Asking) -> None:
    Odd.came.clear()
    assert asked("status", http_proxy=odd, HTTP_PROXY=odd).code in (0, 2, 3)
    assert not Odd.came


def test_a_certificate_is_verified_before_the_token_is_sent(tmp_path: Path, asked: Asking) -> None:
    certificate, key = write_pair(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    Odd.came.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://localhost:{server.server_address[1]}"
        code, message = asked.error("status", url=url)
        assert code == "server-away" and "certificate" in message and not Odd.came
        assert asked.error("status", url=url, OCTOFLEET_CA_FILE=str(tmp_path / "none"))[0] == "server-away"
        assert asked.error("status", url=url, OCTOFLEET_CA_FILE=str(certificate))[0] == "server"
        server.shutdown()
    assert [token for _, token in Odd.came] == [f"Bearer {asked.token}"]


def test_a_server_that_is_away(asked: Asking) -> None:
    assert asked.error("status", url="http://127.0.0.1:1")[0] == "server-away"


@pytest.mark.parametrize(("tries", "code"), [(3, ""), (MOST_TRIES, "server-away"), (1, "forbidden")])
def test_following_outlives_a_server_that_is_started_again(tries: int, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on after the last line that it has shown; but not for ever, and not where it is refused."""
    monkeypatch.setattr(remote_showing, "AGAIN_S", 0.0)
    asked: list[int] = []

    def lines(after: int) -> Iterator[LinePart]:
        asked.append(after)
        yield LinePart(id=after + 1, step=0, at=0.0, text="a line")
        if 1 < len(asked) <= tries + 1:
            raise OctofleetError("away", code=code or "busy")

    def run() -> RunPage:
        return msgspec.convert(RUN | {"endedAt": 1.0 if len(asked) > tries else None}, RunPage)

    if code:
        with pytest.raises(OctofleetError, match="away"):
            remote_showing.follow(run, lines, show=False)
    else:
        assert remote_showing.follow(run, lines, show=False).ended_at == 1.0
    assert asked == list(range(len(asked))) and len(asked) >= tries


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - REMOTE))
def test_what_no_server_does_says_so(command: str, asked: Asking) -> None:
    code, message = asked.error(command)
    assert code == "usage" and message == f"octofleet {command} works on the installation's machine alone"


@pytest.mark.parametrize(
    "args",
    [
        ("plan", "--refresh"),
        ("plan", "--out", "plan.html"),
        ("plan", "--data-dir", "x"),
        ("apply", "--break-glass", "why"),
        ("status", "--why"),
        ("logs", "abcd", "--out", "run.html"),
    ],
)
def test_an_option_that_no_server_has_is_refused_by_name(args: tuple[str, ...], asked: Asking) -> None:
    option = next(one for one in args if one.startswith("--"))
    assert asked.error(*args) == ("usage", f"octofleet {args[0]} {option} works on the installation's machine alone")
    assert asked.error(args[0], "--nonsense")[1].startswith("No such option"), "and what nobody has is unknown"


def test_each_has_help_without_a_token(asked: Asking) -> None:
    for name in sorted(REMOTE):
        shown = asked(name, "--help", OCTOFLEET_TOKEN="")
        assert shown.code == 0 and "--json" in shown.out
    assert json.loads(asked("runs", "--json").out)["runs"]
