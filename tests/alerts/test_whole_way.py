"""A real `octofleet serve` with an AlertChannel: what fails, drifts and waits arrives once, outlives a kill, and is over when it is over."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.memory import Fault, World
from tests.alerts.receivers import PAGERDUTY, Web, mail, web
from tests.conftest import ROOT
from tests.fleets import fleet, host, octofleet, repo
from tests.store.databases import KINDS, database

PATIENCE_S = 90
CHANNEL = """apiVersion: octofleet/v1
kind: AlertChannel
metadata: {name: %s, tenant: %s}
spec:
  to:
    - secretRef: {store: s, key: %s}
    - secretRef: {store: s, key: %s}
  on: [run-failed]
  group: 1s
"""


class Site:
    """A repository that fails on one host, a database, and an HTTPS receiver."""

    def __init__(self, path: Path, url: str, services: Web, hook: Web) -> None:
        self.path, self.services, self.hook = path, services, hook
        channels = {"shop": CHANNEL % ("on-call", "shop", "hook", "pager"), "lab-ops": CHANNEL % ("ops", "lab", "hook", "dead")}
        lab = {"lab": "apiVersion: octofleet/v1\nkind: Tenant\nmetadata: {name: lab}\nspec: {}\n"}
        self.repo = repo(path / "repo", fleet(hosts=2, **channels, **lab))
        self.world = World(str(path / "world.db"))
        self.env = {
            "OCTOFLEET_DATABASE_URL": url,
            "OCTOFLEET_MEMORY__PATH": str(path / "world.db"),
            "OCTOFLEET_SECRETS__STORES__S__TYPE": "env",
            "OCTOFLEET_SECRETS__STORES__S__PREFIX": "ALERT_",
            "OCTOFLEET_SECRETS__STORES__S__TENANTS": '["*"]',
            "OCTOFLEET_APPLY__LEASE_S": "2",
            "ALERT_hook": f"json://127.0.0.1:{hook.port}/TOKEN",
            "ALERT_pager": "pagerduty://INTEGRATIONKEY@APIKEY",
            "ALERT_dead": "json://127.0.0.1:9/TOKEN",
        } | services.environment
        config = path / "data" / "octofleet.toml"
        config.parent.mkdir(mode=0o700)
        config.write_text(f'[[repositories]]\nlocation = "{self.repo.path}"\npoll_s = 0.3\ninterval_s = 2\n')

    def command(self, *args: str) -> Any:
        return octofleet(self.path / "data", *args, env=self.env)

    @contextmanager
    def serve(self) -> Iterator[subprocess.Popen[str]]:
        known = {key: value for key, value in os.environ.items() if not key.startswith("OCTOFLEET_")}
        env = (
            known | {"OCTOFLEET_DATA_DIR": str(self.path / "data"), "OCTOFLEET_MEMORY__ENABLED": "true", "PYTHONPATH": str(ROOT)} | self.env
        )
        with (self.path / "serve.log").open("a") as log:
            made = subprocess.Popen(
                [sys.executable, "-m", "reconciler.cli", "serve"], env=env, stdout=log, stderr=log, cwd=self.path, text=True
            )
        try:
            yield made
        finally:
            made.kill()
            made.wait()

    def log(self) -> str:
        return (self.path / "serve.log").read_text()

    def until(self, done: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + PATIENCE_S
        while not (found := done()):
            assert time.monotonic() < end, f"{what} did not happen\n{self.log()}\n{self.hook.requests}\n{self.services.requests}"
            time.sleep(0.05)
        return found

    def hooked(self, word: str) -> list[Any]:
        return [request.body for request in self.hook.requests if word in request.body["message"]]

    def paged(self, action: str) -> list[Any]:
        return [request.body for request in self.services.requests if request.body["event_action"] == action]

    def told(self) -> bool:
        """Whether all that the shop is to be told is stored as told."""
        return self.log().count("event=alert-sent") >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_fails_is_told_once_through_a_kill_and_resolved_when_one_succeeds(kind: str, tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    with database(kind, tmp_path) as url, web(tmp_path / "tls") as services, web() as hook:
        site = Site(tmp_path, url, services, hook)
        with site.serve() as process:
            site.until(lambda: site.command("alerts", "--json").json.get("channels"), "the channels in force")
            site.world.fail("memory/config/shop/web-01", Fault.PARTIAL)
            site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  timezone: Europe/Oslo\n")})
            site.until(lambda: site.hooked("run failed"), "the message at the webhook")
            site.until(lambda: site.paged("trigger"), "the incident")
            site.until(site.told, "that it was told was stored")
            process.send_signal(signal.SIGKILL)
            process.wait()
        opened, incidents = len(site.hooked("run failed: tenant shop")), len(site.paged("trigger"))
        message = site.hooked("run failed")[0]
        assert "memory/config/shop/web-01" in message["message"] and message["type"] == "failure" and opened == incidents == 1
        listed = site.command("alerts", "--json")
        assert listed.code == 2 and "run-failed" in [item["event"] for item in listed.json["alerts"]]
        assert {item["channel"]: item["failing"] for item in listed.json["channels"]} == {"shop/on-call": {}, "lab/ops": {}}
        with site.serve() as process:
            site.until(lambda: site.log().count("following") >= 2 and site.log().count("is ready") >= 2, "the second server")
            site.world.heal()
            site.until(lambda: site.paged("resolve"), "the end of the incident")
            site.until(lambda: site.hooked("over: run failed"), "the end at the webhook")
            site.until(lambda: site.command("alerts").code == 0, "no open alert")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, site.log()
        assert len(site.hooked("run failed: tenant shop: run")) == 1 == len(site.paged("trigger")), "told once, whoever was killed"
        assert site.paged("resolve")[0]["dedup_key"] == site.paged("trigger")[0]["dedup_key"]
        assert services.requests[0].host == PAGERDUTY
        for secret in ("TOKEN", "INTEGRATIONKEY", "APIKEY"):
            assert secret not in site.log()


def test_a_test_message_and_what_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    with database("sqlite", tmp_path) as url, web(tmp_path / "tls") as services, web() as hook, mail() as server:
        site = Site(tmp_path, url, services, hook)
        site.env["ALERT_hook"] = f"mailto://127.0.0.1:{server.port}/?from=octofleet@example.net&to=ops@example.net"
        assert site.command("apply", "--approve", "--repo", str(site.repo.path)).code == 0
        fine = site.command("alerts", "test", "shop/on-call", "--json")
        assert fine.code == 0 and [item["error"] for item in fine.json["receivers"]] == ["", ""], fine.text
        assert [body["event_action"] for body in (r.body for r in services.requests)] == ["trigger", "resolve"]
        assert "this is a test" in server.messages[0][2].get_content()
        bad = site.command("alerts", "test", "lab/ops")
        assert bad.code == 1 and "json://127.0.0.1:9 did not take a message" in bad.text and "TOKEN" not in bad.text
        none = site.command("alerts", "test", "nobody")
        assert none.code == 1 and "no AlertChannel nobody is in force" in none.text and "lab/ops, shop/on-call" in none.text
        del site.env["ALERT_pager"]
        site.env["ALERT_dead"] = "slack://TOKENONLY"
        findings = {item["name"]: item for item in site.command("doctor", "--json").json["findings"]}
        assert findings["alerts shop/on-call 1"]["ok"] and "no key 'pager'" in findings["alerts shop/on-call 2"]["found"]
        assert "apprise does not understand the URL slack://..." in findings["alerts lab/ops 2"]["found"]
        assert "TOKEN" not in json.dumps(findings)
