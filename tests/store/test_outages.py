"""PostgreSQL goes away and comes back: a block is done whole or not at all, says so, and the same store works again."""

import threading
from collections.abc import Callable, Iterator

import pytest

from reconciler.store.engine import Connection, Store, Unavailable, insert
from tests.peers import postgresql as peer

ADD = insert("log", ("run", "step", "at", "text"))
END_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
def server() -> Iterator[peer.Server]:
    """A server of one's own, which may be ended, and keeps what it has committed."""
    with peer.server(durable=True) as made:
        yield made


def lines(connection: Connection) -> int:
    return int(connection.scalar("SELECT count(*) FROM log"))


def end_connections(store: Store) -> None:
    peer.shared().run(END_OTHERS, database=store.url.rpartition("/")[2])


def test_idle_connections_that_were_cut_are_not_noticed(store: Store) -> None:
    with store.read(), store.read(), store.read():
        pass
    assert len(store._idle) == 3
    end_connections(store)
    with store.write() as connection:
        connection.run(ADD, ("r", 0, 1.0, "x"))
    with store.read() as one, store.read() as two:
        assert lines(one) == lines(two) == 1


@pytest.mark.parametrize("alone", [True, False])
def test_a_connection_that_is_lost_within_a_transaction_undoes_it(store: Store, alone: bool) -> None:
    with pytest.raises(Unavailable) as caught, store.write(alone=alone) as connection:
        connection.run(ADD, ("r", 0, 1.0, "x"))
        end_connections(store)
        connection.run(ADD, ("r", 1, 1.0, "x"))
        lines(connection)
    assert not caught.value.in_doubt and store._idle == []
    with store.write() as connection:
        assert lines(connection) == 0


def test_one_that_is_lost_when_nobody_asks_any_more_is_in_doubt(store: Store) -> None:
    with pytest.raises(Unavailable) as caught, store.write() as connection:
        connection.run(ADD, ("r", 0, 1.0, "x"))
        end_connections(store)
    assert caught.value.in_doubt and "look whether it was done" in caught.value.hint
    with store.read() as connection:
        assert lines(connection) == 0


def test_one_that_is_lost_after_the_commit_is_in_doubt_and_was_done(server: peer.Server) -> None:
    """It has committed, waits for a standby that is not there, and cannot say so any more."""
    store = Store(server.url("postgres"))
    server.stop()
    server.start(synchronous_standby_names="nobody")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

    def when_it_waits() -> None:
        while not server.run(end):
            pass

    other = threading.Thread(target=when_it_waits)
    other.start()
    with pytest.raises(Unavailable) as caught, store.write() as connection:
        connection.run(ADD, ("r", 0, 1.0, "x"))
    other.join()
    assert caught.value.in_doubt
    with store.read() as connection:
        assert lines(connection) == 1
    store.close()


def refusals(work: Callable[[], None], most: int = 100) -> list[Unavailable]:
    """Do some work as callers do: again, until it is not refused any more."""
    refused: list[Unavailable] = []
    while len(refused) < most:
        try:
            work()
            return refused
        except Unavailable as error:
            refused.append(error)
    raise refused[-1]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_server_that_ends_and_comes_back(server: peer.Server, how: str) -> None:
    store = Store(server.url("postgres"))

    def add() -> None:
        with store.write() as connection:
            connection.run(ADD, ("r", 0, 1.0, "x"))

    add()
    with pytest.raises(Unavailable) as caught, store.write() as connection:
        connection.run(ADD, ("r", 1, 1.0, "x"))
        getattr(server, how)()
        connection.run(ADD, ("r", 2, 1.0, "x"))
    assert not caught.value.in_doubt
    with pytest.raises(Unavailable) as caught:
        add()
    assert "check that the database server runs" in caught.value.hint or "stops or restarts" in caught.value.hint
    server.start()
    refusals(add)
    with store.read() as connection:
        assert lines(connection) == 2
    store.close()


def test_a_standby_takes_over(server: peer.Server) -> None:
    """A list of hosts finds the one that takes writes: at first, and after a failover, with the same store."""
    with peer.server(of=server) as standby:
        both = server.tcp_url("postgres").replace(f"127.0.0.1:{server.port}", f"127.0.0.1:{standby.port},127.0.0.1:{server.port}")
        store = Store(both)
        with store.write() as connection:
            assert connection.scalar("SELECT inet_server_port()") == server.port, "the first host takes no writes"
            connection.run(ADD, ("r", 0, 1.0, "x"))
        waiting = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()"
        while server.run(waiting) != [(1,)]:
            pass
        server.kill()
        with pytest.raises(Unavailable), store.write():
            raise AssertionError("a standby takes no writes")
        standby.promote()

        def add() -> None:
            with store.write() as connection:
                connection.run(ADD, ("r", 1, 1.0, "x"))

        refusals(add)
        with store.read() as connection:
            assert lines(connection) == 2 and connection.scalar("SELECT inet_server_port()") == standby.port
        store.close()
