"""Whatever is done to the rows of a trail, it is found, and the first wrong row is named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.store.audit import AUDIT, JSON, entries, head_at, newest, record, verify
from reconciler.store.engine import Connection, Store
from reconciler.types.audit import START, Head, Row, Verdict, Wrong, chained, follow, line_of
from reconciler.types.canonical import canonical, digest
from tests.audit.made import chain, entry, fill, raw_rows, rewrite, unlock

LENGTH = 8
CHAIN = chain(LENGTH)
HEAD = Head(CHAIN[-1].seq, CHAIN[-1].hash)
numbers = st.integers(0, LENGTH - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "seq": st.integers(-2, LENGTH + 3),
    "at": st.floats(allow_nan=False, allow_infinity=False),
    "subjects": st.lists(texts, max_size=2),
    "tenants": st.lists(texts, max_size=2),
    "details": st.dictionaries(texts, st.none() | st.booleans() | st.integers(-9, 9) | texts, max_size=2),
}


def sealed(row: Row, **changed: Any) -> Row:
    """The row with other values and a hash that fits them."""
    fields = row.fields() | changed
    del fields["hash"]
    return Row(**fields, hash=digest(fields))


def found(rows: list[Row], known: Head | None = HEAD) -> Wrong:
    verdict = follow(rows, known=known)
    assert verdict.wrong is not None
    return verdict.wrong


def test_a_whole_chain() -> None:
    assert follow(CHAIN) == follow(CHAIN, known=HEAD) == follow(CHAIN, known=Head(0, CHAIN[3].hash)) == Verdict(rows=LENGTH, head=HEAD)
    assert follow([]) == Verdict(rows=0, head=START)
    middle = Head(CHAIN[3].seq, CHAIN[3].hash)
    assert follow(CHAIN[4:], after=middle, known=middle).rows == LENGTH - 4


@given(number=numbers, data=st.data())
def test_an_edit_is_found_at_its_row(number: int, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(AUDIT))
    value = data.draw(VALUES.get(name, texts))
    before = CHAIN[number]
    edited = msgspec.structs.replace(before, **{name: value})
    if edited.line() == before.line():
        return
    wrong = found([*CHAIN[:number], edited, *CHAIN[number + 1 :]], None)
    assert wrong.what in ("edited", "missing", "order") and (wrong.seq == number + 1 or name == "seq")


@given(number=numbers, data=st.data())
def test_an_edit_whose_hash_was_made_to_fit_is_found_at_the_next_row_or_by_a_head_from_outside(number: int, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(set(AUDIT) - {"hash", "seq", "previous"})))
    edited = sealed(CHAIN[number], **{name: data.draw(VALUES.get(name, texts))})
    if edited == CHAIN[number]:
        return
    wrong = found([*CHAIN[:number], edited, *CHAIN[number + 1 :]])
    assert (wrong.what, wrong.seq) == (("not-after", number + 2) if number + 1 < LENGTH else ("head", number + 1))


@given(first=numbers, second=numbers, renumbered=st.booleans())
def test_a_swap_is_found(first: int, second: int, renumbered: bool) -> None:
    first, second = sorted((first, second))
    if first == second:
        return
    rows = list(CHAIN)
    rows[first], rows[second] = rows[second], rows[first]
    if renumbered:
        for place in (first, second):
            rows[place] = msgspec.structs.replace(rows[place], seq=place + 1)
    wrong = found(rows, None)
    assert wrong.seq in (first + 1, second + 1)


@given(begin=numbers, number=st.integers(1, LENGTH), renumbered=st.booleans())
def test_a_removal_is_found(begin: int, number: int, renumbered: bool) -> None:
    rows = [*CHAIN[:begin], *CHAIN[begin + number :]]
    if renumbered:
        rows = [sealed(row, seq=place) for place, row in enumerate(rows, 1)]
    wrong = found(rows)
    at_end = begin + number >= LENGTH
    assert wrong.what == ("head" if at_end else "not-after" if renumbered else "missing") and wrong.seq == begin + 1
    assert not at_end or follow(rows).wrong is None, "without a head from outside nobody knows"


@given(number=numbers, renumbered=st.booleans(), resealed=st.booleans())
def test_an_insertion_is_found(number: int, renumbered: bool, resealed: bool) -> None:
    last = Head(CHAIN[number - 1].seq, CHAIN[number - 1].hash) if number else START
    later = CHAIN[number:]
    if renumbered:
        later = [(sealed if resealed else msgspec.structs.replace)(row, seq=row.seq + 1) for row in later]
    wrong = found([*CHAIN[:number], chained(entry(99), 5.0, last), *later], None)
    assert wrong.seq in (number + 1, number + 2)


@given(number=numbers)
def test_a_chain_that_was_written_anew_is_found_by_a_head_from_outside(number: int) -> None:
    last, rows = Head(CHAIN[number - 1].seq, CHAIN[number - 1].hash) if number else START, list(CHAIN[:number])
    for seq in range(number, LENGTH + 3):
        rows.append(chained(entry(seq, reason="forged"), 5.0, last))
        last = Head(rows[-1].seq, rows[-1].hash)
    assert follow(rows).wrong is None
    assert found(rows).seq == HEAD.seq and found(rows, Head(0, HEAD.hash)).what == "head"


@given(data=st.data())
def test_every_byte_of_an_export_counts(data: st.DataObject) -> None:
    lines = [row.line() for row in CHAIN]
    number = data.draw(numbers)
    line = lines[number]
    place = data.draw(st.integers(0, len(line) - 1))
    with_another = data.draw(st.sampled_from([b"", b" ", b"x", b"0", b'"', b"\xff", b"}"]))
    lines[number] = line[:place] + with_another + line[place + 1 :]
    if lines[number] == line:
        return
    verdict = follow([line_of(text, at) for at, text in enumerate(lines, 1)])
    assert verdict.wrong is not None and verdict.rows <= number


# The same in a database, by its owner.


def bits(value: Any) -> Any:
    """Another value that the column takes."""
    if isinstance(value, bytes):
        return value.replace(b"]", b" ]").replace(b"}", b" }")  # the same JSON, written otherwise
    return value + 1 if isinstance(value, int | float) else value + "x"


@pytest.mark.parametrize("column", AUDIT)
def test_a_column_edited_in_the_database(store: Store, column: str) -> None:
    fill(store, 5)
    with store.write() as connection:
        unlock(connection)
        rows = raw_rows(connection)
        rows[2][column] = bits(rows[2][column]) if column != "seq" else 99
        rewrite(connection, rows)
        wrong = verify(connection).wrong
    assert wrong is not None and wrong.seq == 3
    assert wrong.what == ("unreadable" if column in JSON else "missing" if column == "seq" else "edited")


OWNERS: dict[str, tuple[Callable[[Connection], object], str, int]] = {
    "removes one": (lambda c: c.run("DELETE FROM audit WHERE seq = 3"), "missing", 3),
    "removes the newest": (lambda c: c.run("DELETE FROM audit WHERE seq > 3"), "head", 4),
    "removes all": (lambda c: c.run("DELETE FROM audit"), "head", 1),
    "removes the first": (lambda c: c.run("DELETE FROM audit WHERE seq = 1"), "missing", 1),
    "puts one before the first": (lambda c: c.run("UPDATE audit SET seq = 0 WHERE seq = 5"), "order", 0),
    "puts one far before": (lambda c: c.run("UPDATE audit SET seq = -9 WHERE seq = 5"), "order", -9),
    "writes no JSON": (lambda c: c.run("UPDATE audit SET details = ? WHERE seq = 2", (b"{",)), "unreadable", 2),
    "writes other JSON": (lambda c: c.run("UPDATE audit SET subjects = ? WHERE seq = 2", (b'{"a":1}',)), "unreadable", 2),
}


@pytest.mark.parametrize("does", OWNERS)
def test_who_owns_the_database(store: Store, does: str) -> None:
    head = fill(store, 5)
    with store.write() as connection:
        unlock(connection)
        OWNERS[does][0](connection)
        wrong = verify(connection, head).wrong
    assert wrong is not None and (wrong.what, wrong.seq) == OWNERS[does][1:] and wrong.text


def test_only_what_follows_a_head_that_is_relied_on(store: Store) -> None:
    fill(store, 1200)
    with store.write() as connection:
        head = head_at(connection, 1000)
        assert verify(connection, after=head).rows == 200 and verify(connection, newest(connection)).rows == 1200
        unlock(connection)
        connection.run("UPDATE audit SET reason = 'x' WHERE seq = 900")
        assert verify(connection, after=head).wrong is None
        assert verify(connection).rows == 899
        for other in (replace_hash(head), Head(1201, head.hash)):
            wrong = verify(connection, after=other).wrong
            assert wrong is not None and wrong.what == "head"
        connection.run("UPDATE audit SET reason = 'x' WHERE seq = 1200")
        wrong = verify(connection, after=head).wrong
        assert wrong is not None and (wrong.what, wrong.seq) == ("edited", 1200)


def replace_hash(head: Head) -> Head:
    return Head(head.seq, "f" * 64)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    reason=st.text(max_size=20),
    details=st.dictionaries(texts, st.none() | st.booleans() | st.floats(-(2.0**53) + 1, 2.0**53 - 1) | texts, max_size=3),
)
def test_whatever_somebody_says_is_kept_and_verifies(store: Store, reason: str, details: dict[str, Any]) -> None:
    with store.write() as connection:
        made = record(connection, replace(entry(), reason=reason, subjects=(reason,), details=details))
    with store.read() as connection:
        (kept,) = entries(connection, limit=1)
        assert kept.line() == made.line() and canonical(kept.details) == canonical(details)
        assert verify(connection).wrong is None


@pytest.mark.parametrize("value", [2.0**53, 2**60])
def test_details_that_could_not_be_verified_are_refused(store: Store, value: object) -> None:
    with pytest.raises(ValueError), store.write() as connection:
        record(connection, replace(entry(), details={"value": value}))
    with store.read() as connection:
        assert newest(connection) == START
