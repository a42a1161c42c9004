"""Tries are counted in the database as `limits` has it, by everybody together."""

from concurrent.futures import ThreadPoolExecutor

from limits import RateLimitItemPerSecond
from limits.strategies import FixedWindowRateLimiter

from reconciler.store.engine import Connection, Store
from reconciler.store.tries import Tries


def test_everybody_counts_together(store: Store, database_url: str) -> None:
    """Two stores stand for two processes."""
    other = Store(database_url)

    def one(number: int) -> int:
        with (store, other)[number % 2].write(alone=False) as connection:
            return Tries(connection).incr("a", 60)

    with ThreadPoolExecutor(16) as threads:
        assert sorted(threads.map(one, range(40))) == list(range(1, 41))
    other.close()


def test_a_window_begins_with_the_first_try_and_then_anew(connection: Connection) -> None:
    tries = Tries(connection)
    assert [tries.incr("a", 60), tries.incr("a", 60, 3), tries.incr("b", 60)] == [1, 4, 1]
    until = tries.get_expiry("a")
    assert 0 < until - connection.now() <= 60 and tries.incr("a", 600) == 5 and tries.get_expiry("a") == until
    connection.run("UPDATE tries SET until = until - 61 WHERE key = 'a'")
    assert (tries.get("a"), tries.get("b")) == (0, 1) and tries.get_expiry("a") >= until - 60
    assert tries.incr("a", 60) == 1 and tries.get_expiry("a") >= until
    tries.clear("a")
    assert (tries.get("a"), tries.get_expiry("none") <= connection.now()) == (0, True)
    assert tries.check() and tries.reset() == 1 and tries.get("b") == 0


def test_a_limit_of_the_library_holds_on_it(connection: Connection) -> None:
    limiter, limit = FixedWindowRateLimiter(Tries(connection)), RateLimitItemPerSecond(3, 60)
    assert [limiter.hit(limit, "ada") for _ in range(5)] == [True] * 3 + [False] * 2
    assert limiter.hit(limit, "ben") and limiter.get_window_stats(limit, "ada").remaining == 0
    limiter.clear(limit, "ada")
    assert limiter.test(limit, "ada") and limiter.get_window_stats(limit, "ben").remaining == 2


def test_what_is_not_committed_was_not_tried(store: Store) -> None:
    try:
        with store.write(alone=False) as connection:
            assert Tries(connection).incr("a", 60) == 1
            raise KeyError
    except KeyError:
        pass
    with store.read() as connection:
        assert Tries(connection).get("a") == 0
