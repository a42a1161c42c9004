"""What is PostgreSQL's alone: which URLs it takes, what it shows of them, its transactions, and its errors in our words."""

import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from urllib.parse import quote

import psycopg
import pytest

from reconciler.errors import OctofleetError
from reconciler.store import engine, postgresql
from reconciler.store.engine import Store, Unavailable, insert
from tests.peers import postgresql as peer

ADD = insert("log", ("run", "step", "at", "text"))
SECRET = "hunter2-%:x"
Q = quote(SECRET, safe="")


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
def name(database_url: str) -> str:
    """The name of a database in the shared server."""
    return database_url.rpartition("/")[2]


def everything(error: BaseException) -> str:
    """What a log may show of an error: its text, its causes, its traceback."""
    return "".join(traceback.format_exception(error)) + str(error) + repr(error)


def test_a_password_opens_the_database_and_is_shown_nowhere(name: str) -> None:
    store = Store(peer.shared().tcp_url(name))
    assert store.name == f"postgresql://octofleet@127.0.0.1:{peer.shared().port}/{name}" and peer.PASSWORD in store._database._secrets  # type: ignore[attr-defined]
    with pytest.raises(OctofleetError) as caught, store.read() as connection:
        connection.run("SELECT CAST(? AS integer)", (peer.PASSWORD,))  # the server's message quotes it
    assert "***" in caught.value.message and peer.PASSWORD not in everything(caught.value)
    store.close()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"postgresql://u:{Q}@host/db", "postgresql://u@host/db"),
        (f"postgres://u:{Q}@a:1,b:2/db?sslmode=require", "postgresql://u@a:1,b:2/db"),
        (f"postgresql://a,b:7/db?user=u&password={Q}", "postgresql://u@a:5432,b:7/db"),
        (f"postgresql:///db?host=/run/pg&password={Q}&sslpassword={Q}", "postgresql://%2Frun%2Fpg/db"),
        ("postgresql://[::1]:5433/a%20b", "postgresql://::1:5433/a%20b"),
        (f"postgresql://u:{Q}@host", "postgresql://u@host/"),
    ],
)
def test_a_name_shows_where_and_who(url: str, name: str) -> None:
    made = postgresql.Postgresql(url)
    assert made.name.replace(":5432", "") == name.replace(":5432", "") and SECRET not in made.name and Q not in made.name


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter@2@host/db",
        "postgresql://u:hun/ter2@host/db",
        "postgresql://u:hunter2%zz@host/db",
        "postgresql://u:hunter2@[::1/db",
        "postgresql://u:hunter2@host/db?nonsense=hunter2",
        "postgresql://host/db?password=hunter@2",
        "postgresql:hunter2",
        "postgresql+psycopg://u:hunter2@host/db",
        "postgres",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(OctofleetError) as caught:
        Store(url)
    assert caught.value.code == "settings" and "postgresql://USER" in caught.value.hint and "%40" in caught.value.hint
    assert not [part for part in ("hunter", "ter2", "nonsense") if part in everything(caught.value)]


def wrong_password(name: str) -> str:
    return peer.shared().tcp_url(name, SECRET)


def nobody_listens(name: str) -> str:
    return f"postgresql://u:{Q}@127.0.0.1:1/{name}?connect_timeout=2"


def no_such_host(name: str) -> str:
    return f"postgresql://u:{Q}@nowhere.invalid/{name}"


def no_such_database(name: str) -> str:
    return peer.shared().url("none-" + Q)


def bad_option(name: str) -> str:
    return peer.shared().url(name) + f"?password={Q}&sslmode={Q}"


@pytest.mark.parametrize("made", [wrong_password, nobody_listens, no_such_host, bad_option])
def test_a_connection_that_fails_shows_no_password(made: Callable[[str], str], name: str) -> None:
    with pytest.raises(OctofleetError) as caught:
        Store(made(name))
    assert caught.value.hint
    shown = everything(caught.value).replace(f"{made.__name__}(", "")
    assert SECRET not in shown and Q not in shown


@pytest.mark.parametrize("made", [wrong_password, nobody_listens, no_such_database])
def test_who_cannot_connect_may_try_again(made: Callable[[str], str], name: str) -> None:
    with pytest.raises(Unavailable) as caught:
        Store(made(name))
    assert caught.value.code == "store-unavailable" and "database_url" in caught.value.hint and not caught.value.in_doubt


@pytest.mark.parametrize("options", [("ENCODING 'LATIN1'", "LOCALE 'C'", "LOCALE_PROVIDER libc")])
def test_text_is_utf8(options: tuple[str, ...]) -> None:
    with peer.fresh(empty=True, options=options) as url, pytest.raises(OctofleetError) as caught:
        Store(url)
    assert "LATIN1" in caught.value.message and "UTF8" in caught.value.hint


def test_a_user_who_may_make_no_tables_is_told_what_to_do() -> None:
    server = peer.shared()
    with peer.fresh(empty=True) as url:
        server.run("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
        with pytest.raises(OctofleetError) as caught:
            Store(url.replace("octofleet@", "guest@"))
    assert caught.value.code == "store" and "own the database" in caught.value.hint


def test_without_the_extra_it_is_named() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\nfrom reconciler.store.engine import Store\n"
        "from reconciler.errors import OctofleetError\n"
        "try: Store('postgresql://u:hunter2@h/d')\nexcept OctofleetError as error: print(error.code, error.hint, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("extra-missing pip install 'octofleet[postgresql]'") and "hunter2" not in done.stdout + done.stderr


def test_what_the_url_says_goes_before_what_we_would() -> None:
    ours, theirs = (
        postgresql.Postgresql("postgresql://h/d"),
        postgresql.Postgresql("postgresql://h/d?connect_timeout=3&target_session_attrs=any"),
    )
    assert ours._settings["connect_timeout"] == "10" and ours._settings["target_session_attrs"] == "read-write"
    assert theirs._settings["connect_timeout"] == "3" and theirs._settings["target_session_attrs"] == "any"


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(OctofleetError), store.read() as connection:
        connection.run(ADD, ("r", 0, 1.0, "x"))


def test_transactions_are_as_strict_as_promised(store: Store) -> None:
    show = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'), current_setting('lock_timeout')"
    with store.read() as connection:
        assert connection.row(show) == ("repeatable read", "on", "30s")
    for alone in (True, False):
        with store.write(alone=alone) as connection:
            assert connection.row(show) == ("read committed", "off", "30s")
            assert connection.scalar("SELECT current_setting('idle_in_transaction_session_timeout')") == ("1min" if alone else "5s")
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            assert connection.scalar(locks) == int(alone)
    raw = store._idle[0]
    assert raw.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",), "a setting ends with its transaction"


def test_a_transaction_in_which_a_statement_failed_is_never_committed(store: Store) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK then, and no error."""
    with pytest.raises(OctofleetError), store.write() as connection:
        connection.run(ADD, ("r", 0, 1.0, "x"))
        with pytest.raises(psycopg.Error):
            connection.run("SELECT 1 FROM nowhere")
    with store.read() as connection:
        assert connection.scalar("SELECT count(*) FROM log") == 0


def backends(store: Store) -> int:
    with store.read() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        return int(connection.scalar(query))


def test_a_connection_is_kept_after_a_block_that_raised(store: Store) -> None:
    pids = set()
    for _ in range(3):
        with pytest.raises(KeyError), store.write() as connection:
            pids.add(connection.scalar("SELECT pg_backend_pid()"))
            connection.run(ADD, ("r", 0, 1.0, "x"))
            raise KeyError
    with store.read() as connection:
        assert connection.scalar("SELECT count(*) FROM log") == 0 and pids == {connection.scalar("SELECT pg_backend_pid()")}


def test_idle_connections_are_few_and_close_lets_go_of_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST_IDLE", 2)

    def nested(depth: int) -> Iterator[int]:
        with store.read() as connection:
            yield int(connection.scalar("SELECT pg_backend_pid()"))
            if depth:
                yield from nested(depth - 1)

    assert len(set(nested(5))) == 6 and len(store._idle) == 2
    store.close()
    assert store._idle == []
    assert backends(store) >= 1, "it can be used again"


def test_who_writes_beside_others_locks_nothing_until_something_is_asked(store: Store) -> None:
    """Then all goes in one message, so that nobody who is frozen or cut off has sent half of it."""
    held = "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation WHERE relname = 'log' AND mode = 'RowExclusiveLock'"
    with store.write(alone=False) as connection:
        connection.run(ADD, ("r", 0, 1.0, "x"))
        connection.run_many(ADD, [("r", 1, 1.0, "x"), ("r", 2, 1.0, "x")])
        connection.run_in("UPDATE log SET text = ? WHERE step IN (...)", [1, 2], ("y",))
        with store.read() as other:
            assert other.scalar(held) == 0
        assert list(connection.rows("SELECT step, text FROM log ORDER BY step")) == [(0, "x"), (1, "y"), (2, "y")]
        with store.read() as other:
            assert other.scalar(held) == 1
        connection.run("UPDATE log SET text = 'z' WHERE step = ?", (2,))
    with store.read() as connection:
        assert [text for (text,) in connection.rows("SELECT text FROM log ORDER BY step")] == ["x", "y", "z"]


def test_a_statement_that_waited_and_failed_undoes_the_transaction(store: Store) -> None:
    with pytest.raises(OctofleetError) as caught, store.write(alone=False) as connection:
        connection.run(ADD, ("r", 0, 1.0, "x"))
        connection.run(insert("change", ("plan", "seq", "address", "digest", "body")), (99, 0, "a", "d", b""))
    assert caught.value.code == "store" and type(caught.value.__cause__).__name__ == "ForeignKeyViolation"
    with store.write(alone=False) as connection:
        assert connection.scalar("SELECT count(*) FROM log") == 0
