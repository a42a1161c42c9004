"""What `make ha` shows: the database's primary dies under those who write, and nothing that was acknowledged is lost.

A scenario takes a running cluster and somebody to tell, and gives figures. It raises `AssertionError` when a promise is broken. This one
writes with plain SQL; one with `octofleet serve` and `octofleet worker` starts them as `tests.ha.replicas.Replica` with `cluster.url`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.ha.kept import until
from tests.ha.topology import Cluster
from tests.ha.writer import Writer, rows

Say = Callable[[str], None]


@dataclass(frozen=True)
class Figure:
    """Something that was counted or measured."""

    what: str
    value: str


def scenario(cluster: Cluster, say: Say) -> tuple[Figure, ...]:
    """Kill the primary while somebody writes, let the standby take over, and bring the dead node back."""
    with Writer(cluster.url) as writer:
        until(lambda: len(writer.acknowledged) > 200, "200 acknowledged rows", within_s=60)
        before = writer.acknowledged
        killed = cluster.kill_primary()
        say(f"{killed}, the primary, killed (SIGKILL) after {len(before)} acknowledged rows")
        promoted_s = cluster.promoted(killed)
        survivor = cluster.primary()
        say(f"{survivor} is primary after {promoted_s:.1f} s")
        until(lambda: max(writer.acknowledged) > max(before) + 200, "acknowledged rows after the failover", within_s=60)
        alone = writer.acknowledged
        say(f"writes go on; without service for {writer.silence_s:.1f} s")
        cluster.restart(killed)
        back_s = cluster.whole()
        assert cluster.standby() == killed, f"{killed} came back as something else"
        how = "rewound" if "pg_rewind: Done!" in cluster.said(killed) else "followed"
        say(f"{killed} is back as the synchronous standby after {back_s:.1f} s ({how})")
        until(lambda: max(writer.acknowledged) > max(alone) + 100, "acknowledged rows with the new standby", within_s=60)
    _nothing_lost(writer, cluster, killed)
    say(f"all {len(writer.acknowledged)} acknowledged rows are on both nodes")
    return (
        Figure("acknowledged rows", str(len(writer.acknowledged))),
        Figure("of these lost", "0"),
        Figure("failed attempts to write", str(writer.failures)),
        Figure("until the standby was promoted", f"{promoted_s:.1f} s"),
        Figure("longest time without an acknowledged write", f"{writer.silence_s:.1f} s"),
        Figure("until the killed node was a synchronous standby again", f"{back_s:.1f} s ({how})"),
    )


def _nothing_lost(writer: Writer, cluster: Cluster, standby: str) -> None:
    found = rows(cluster.url)
    lost = writer.acknowledged - found
    assert not lost, f"{len(lost)} acknowledged rows are lost, such as {min(lost)}"
    until(lambda: rows(cluster.url_of(standby)) == found, f"the same rows on {standby}", within_s=30)
