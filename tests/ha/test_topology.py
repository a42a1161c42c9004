"""The database of docs/deploy with real programs: what it promises when a part of it dies. The order matters: each leaves the cluster whole."""

import psycopg
import pytest

from tests.ha.kept import until
from tests.ha.scenario import scenario
from tests.ha.topology import Cluster
from tests.ha.writer import Writer, rows

pytestmark = pytest.mark.xdist_group("ha")
SOON_S = 60.0


def more(writer: Writer, number: int = 50) -> None:
    """Wait for so many more acknowledged rows."""
    enough = len(writer.acknowledged) + number
    until(lambda: len(writer.acknowledged) >= enough, f"{number} more acknowledged rows", within_s=SOON_S)


def says_again(cluster: Cluster, name: str, text: str, *, times: int) -> None:
    """Wait until a part has written so many more lines with a text to its log."""
    enough = cluster.said(name).count(text) + times
    until(lambda: cluster.said(name).count(text) >= enough, f"{name} says: {text}", within_s=SOON_S)


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute(query).fetchone()
        assert row
        return row[0]


def test_one_address_leads_to_the_primary(cluster: Cluster) -> None:
    primary, standby = cluster.primary(), cluster.standby()
    assert {primary, standby} == set(cluster.nodes)
    assert ask(cluster.url, "SELECT pg_is_in_recovery()") is False
    assert ask(cluster.url, "SELECT inet_server_port()") == cluster.nodes[str(primary)].sql
    assert ask(cluster.url_of(str(standby)), "SELECT pg_is_in_recovery()") is True
    assert ask(cluster.url, "SHOW synchronous_standby_names") == f'"{standby}"' and ask(cluster.url, "SHOW synchronous_commit") == "on"


def test_the_primary_is_killed(cluster: Cluster) -> None:
    said: list[str] = []
    figures = {figure.what: figure.value for figure in scenario(cluster, said.append)}
    print(*said, *figures.items(), sep="\n")
    assert len(said) == 5 and figures["of these lost"] == "0"
    silence = float(figures["longest time without an acknowledged write"].removesuffix(" s"))
    assert 0 < silence < SOON_S


def test_without_etcd_writes_go_on(cluster: Cluster) -> None:
    before = cluster.primary()
    with Writer(cluster.url) as writer:
        more(writer)
        cluster.kill("etcd-1")
        says_again(cluster, str(before), "failsafe mode is enabled", times=2)
        more(writer)
        cluster.start_etcd()
        cluster.whole()
        more(writer)
    assert cluster.primary() == before and writer.failures == 0
    assert writer.acknowledged <= rows(cluster.url)


def test_a_standby_that_has_missed_something_does_not_take_over(cluster: Cluster) -> None:
    """Both nodes die one after the other; the first one comes back first, without what the second one acknowledged while it was alone."""
    primary, standby = str(cluster.primary()), str(cluster.standby())
    with Writer(cluster.url) as writer:
        more(writer)
        cluster.kill(standby)
        until(lambda: ask(cluster.url, "SHOW synchronous_standby_names") == "", "a primary that goes on alone", within_s=SOON_S)
        more(writer)
        cluster.kill(primary)
    cluster.restart(standby)
    says_again(cluster, standby, "i am not the healthiest node", times=3)
    assert cluster.primary() is None
    cluster.restart(primary)
    cluster.whole()
    assert (cluster.primary(), cluster.standby()) == (primary, standby)
    assert writer.acknowledged <= rows(cluster.url)
    until(lambda: writer.acknowledged <= rows(cluster.url_of(standby)), f"all rows on {standby}", within_s=SOON_S)
