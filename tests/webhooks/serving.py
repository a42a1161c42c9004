"""`octofleet serve` in a process of its own, on a site's repository and database; the forge's double delivers to it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.conftest import ROOT
from tests.peers.forges.double import SECRET
from tests.webhooks.site import PullSite

PATIENCE_S = 90.0


@dataclass(frozen=True, kw_only=True)
class Serving:
    """`said`: what it has said as it began, the one-time link of the first account with it."""

    process: subprocess.Popen[str]
    port: int
    said: str


@contextmanager
def serving(
    site: PullSite, *, apply_on: str = "merge", listen: str = "127.0.0.1:0", public_url: str = "", more: str = ""
) -> Iterator[Serving]:
    """One that is ready. `more`: lines about the repository in the settings."""
    (site.path / "secret").write_text(SECRET)
    (site.path / "octofleet.toml").write_text(
        f"""database_url = "{site.installation.settings.database_url}"
listen = "{listen}"
[memory]
enabled = true
path = "{site.path / "world.db"}"
[boot]
directory = "{site.path / "boot"}"
[[forges]]
name = "hub"
type = "github"
url = "{site.double.url}"
token_file = "{site.path / "token"}"
secret_files = ["{site.path / "secret"}"]
public_url = "{public_url}"
[[repositories]]
location = "{site.location}"
forge = "hub"
project = "acme/fleet"
poll_s = 1
apply_on = "{apply_on}"
{more}"""
    )
    known = {name: value for name, value in os.environ.items() if not name.startswith("OCTOFLEET_")}
    env = known | {
        "OCTOFLEET_DATA_DIR": str(site.path / "serve"),
        "OCTOFLEET_CONFIG": str(site.path / "octofleet.toml"),
        "PYTHONPATH": str(ROOT),
    }
    log = site.path / "serve.log"
    before = len(log.read_text()) if log.exists() else 0
    with log.open("a") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler.cli", "serve"], env=env, stdout=written, stderr=written, cwd=site.path
        )
    try:
        until(site, lambda: " is ready; " in log.read_text()[before:] or process.poll() is not None, "the start")
        said = log.read_text()[before:]
        found = re.search(r"at http://127\.0\.0\.1:(\d+)", said)
        assert found, said
        site.double.hook = f"http://127.0.0.1:{found[1]}/webhooks/hub"
        yield Serving(process=process, port=int(found[1]), said=said)
    finally:
        process.kill()
        process.wait()


def until(site: PullSite, done: Callable[[], Any], what: str) -> Any:
    """What `done` gives, as soon as it is true of something."""
    end = time.monotonic() + PATIENCE_S
    while not (found := done()):
        assert time.monotonic() < end, f"{what} did not happen\n{(site.path / 'serve.log').read_text()[-3000:]}"
        time.sleep(0.05)
    return found
