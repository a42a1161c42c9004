"""Pull requests, postings and locks in both databases."""

from dataclasses import replace

from reconciler.store.engine import Connection, Store
from reconciler.store.leases import WorkerRow, beat, take_away
from reconciler.store.postings import give_back_queue, know_forge, open_postings, posted, postings_of, put_off, take_queue, want
from reconciler.store.pull_locks import holders, locks_of, release, take_locks
from reconciler.store.pulls import (
    NEVER,
    Command,
    PullKey,
    PullRow,
    answer,
    ask_pull,
    commands_of,
    forget_deliveries,
    give_back_pull,
    load_pull,
    open_onto,
    pulls,
    received,
    save_command,
    take_pull,
)

ONE, OTHER = (PullKey(forge="hub", project="acme/fleet", number=number) for number in (1, 2))


def known(connection: Connection, worker: str = "w") -> None:
    beat(connection, WorkerRow(id=worker, name=worker, role="serve", version="0", started_at=0.0, until=connection.now() + 60))


def taken(store: Store, worker: str = "w") -> PullRow | None:
    with store.write() as connection:
        return take_pull(connection, worker)


def test_a_delivery_counts_once(store: Store) -> None:
    with store.write() as connection:
        assert received(connection, "hub", "a") and received(connection, "lab", "a")
        assert not received(connection, "hub", "a")
    with store.write() as connection:
        assert forget_deliveries(connection, connection.now() + 1) == 2
        assert received(connection, "hub", "a")


def test_a_pull_request_is_taken_by_one_and_asked_for_again_meanwhile(store: Store) -> None:
    with store.write() as connection:
        known(connection)
        known(connection, "v")
        ask_pull(connection, ONE, "/repo")
    found = taken(store)
    assert found is not None and found.key == ONE and taken(store, "v") is None
    with store.write() as connection:
        ask_pull(connection, ONE, "/repo")
        left = replace(found, head="c" * 40, branch="main", state="open", due_at=NEVER)
        assert give_back_pull(connection, left)
    again = taken(store)
    assert again is not None and again.head == "c" * 40, "a request that came meanwhile was lost"
    with store.write() as connection:
        assert not give_back_pull(connection, left), "an old lease wrote"
        assert give_back_pull(connection, replace(again, state="closed"))
    assert taken(store) is None
    with store.write() as connection:
        assert open_onto(connection, "/repo", "main") == []
    assert taken(store) is None, "a closed one was asked for"
    with store.read() as connection:
        assert pulls(connection) == [] and [row.key for row in pulls(connection, "closed")] == [ONE]


def test_who_could_not_give_it_back_has_it_first(store: Store) -> None:
    with store.write() as connection:
        known(connection)
        known(connection, "v")
        ask_pull(connection, ONE, "/repo")
    lost = taken(store)
    assert lost is not None
    with store.write() as connection:
        ask_pull(connection, OTHER, "/repo")
        connection.run("UPDATE pull SET asked_at = 1 WHERE number = 2")
    again = taken(store)
    assert again is not None and again.key == ONE and again.fence == lost.fence + 1
    with store.write() as connection:
        assert not give_back_pull(connection, lost) and give_back_pull(connection, again)
    other = taken(store, "v")
    assert other is not None and other.key == OTHER


def test_nobody_unknown_takes_and_the_leases_of_the_dead_are_free(store: Store) -> None:
    with store.write() as connection:
        ask_pull(connection, ONE, "/repo")
        know_forge(connection, "hub")
        assert take_pull(connection, "w") is None and take_queue(connection, "hub", "w") is None
        known(connection)
    found = taken(store)
    with store.write() as connection:
        queue = take_queue(connection, "hub", "w")
        known(connection, "v")
        assert found is not None and queue is not None and take_queue(connection, "hub", "v") is None
        take_away(connection, ["w"], "lost")
    with store.write() as connection:
        assert not give_back_pull(connection, found) and not give_back_queue(connection, queue)
        assert take_queue(connection, "hub", "v") is not None
    again = taken(store, "v")
    assert again is not None and again.key == ONE


def test_a_command_is_worked_once(store: Store) -> None:
    said = Command(forge="hub", comment="7", project="acme/fleet", number=1, author="ada", body="octofleet plan", at=5.0)
    with store.write() as connection:
        assert save_command(connection, said) and not save_command(connection, replace(said, body="octofleet apply"))
        assert commands_of(connection, ONE, done=False) == [said] and commands_of(connection, OTHER, done=False) == []
        assert answer(connection, said, "planned") and not answer(connection, said, "twice")
        assert commands_of(connection, ONE, done=False) == []
        assert [(c.answer, c.body) for c in commands_of(connection, ONE, done=True)] == [("planned", "octofleet plan")]


def test_what_is_wanted_is_posted_until_it_stands(store: Store) -> None:
    with store.write() as connection:
        want(connection, ONE, "comment", b"first")
        (found,) = open_postings(connection, "hub")
        put_off(connection, found, 60.0, "away")
        assert open_postings(connection, "hub") == []
        want(connection, ONE, "comment", b"first")
        assert open_postings(connection, "hub") == [], "the same was not put off any more"
        want(connection, ONE, "comment", b"second")
        (found,) = open_postings(connection, "hub")
        assert (found.body, found.failures) == (b"second", 0)
        want(connection, ONE, "comment", b"third")
        posted(connection, found, "c-9")
        (found,) = open_postings(connection, "hub")
        assert (found.body, found.id) == (b"third", "c-9"), "what was wanted meanwhile was lost"
        posted(connection, found, "c-9")
        assert open_postings(connection, "hub") == [] and [p.id for p in postings_of(connection, ONE)] == ["c-9"]
        assert load_pull(connection, ONE) is None


def test_the_first_pull_request_holds_a_resource(store: Store) -> None:
    with store.write() as connection:
        assert take_locks(connection, ONE, "fleet", ["a", "b"]) == []
        assert [(held.address, held.by) for held in take_locks(connection, OTHER, "fleet", ["b", "c"])] == [("b", ONE)]
        assert take_locks(connection, PullKey(forge="lab", project="acme/other", number=1), "other", ["b"]) == []
        assert take_locks(connection, ONE, "fleet", ["a"]) == []
        assert take_locks(connection, OTHER, "fleet", ["b", "c"]) == []
        (held,) = take_locks(connection, ONE, "fleet", ["b"], identity="github:ada", reason="hands off")
        assert held.by == OTHER
        take_locks(connection, OTHER, "fleet", ["b"], identity="github:bob", reason="mine")
        assert take_locks(connection, OTHER, "fleet", []) == [] and [h.reason for h in locks_of(connection, OTHER)] == ["mine"]
        assert release(connection, OTHER) >= 1 and holders(connection, "fleet", ["b", "c"]) == []
