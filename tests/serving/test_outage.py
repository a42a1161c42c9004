"""A server whose database goes away and comes back: it waits, says so once, and goes on."""

from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from reconciler.store.engine import Store
from tests.peers import postgresql
from tests.serving.test_processes import PATIENCE_S, Site

AWAY_S = 8
"""How long the database is away, at least: what is told each second would be told so often."""


def test_it_says_once_that_the_database_is_away_and_once_that_it_is_back(tmp_path: Path) -> None:
    with postgresql.server(durable=True) as server:
        url = server.url(server.make())
        Store(url).close()
        site = Site(tmp_path, url, "postgresql")
        log = tmp_path / "serve.log"
        with site.serve() as process:
            site.until(lambda: site.ended() == "done", "the end of the run")
            server.kill()
            site.until(lambda: "event=queue-away" in log.read_text() and "event=database-away" in log.read_text(), "that it notices")
            with pytest.raises(TimeoutExpired):
                process.wait(AWAY_S)
            server.start()
            site.until(lambda: "event=database-back" in log.read_text(), "that it is back")
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
    lines = log.read_text().splitlines()
    for event in ("database-away", "database-back"):
        assert sum(f"event={event} " in line for line in lines) == 1, log.read_text()
    assert not [line for line in lines if "event=repository-failed" in line or "event=round-failed" in line or "Traceback" in line]
    assert sum("event=queue-away" in line for line in lines) <= 3, "one for each way in which it fails"
