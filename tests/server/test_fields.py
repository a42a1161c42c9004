"""A resource's sides next to each other: what differs comes first, and no secret shows, not even where another side has it in the clear."""

from reconciler.reading.fields import rows
from reconciler.reading.wanted import Shown
from reconciler.types.change import MISSING
from reconciler.types.values import Secret, SecretRef

SECRET = Secret(ref=SecretRef(store="env", key="root-password"), token="t")


def test_a_secret_hides_what_it_takes_the_place_of() -> None:
    (row,) = rows({"desired": {"password": SECRET}, "recorded": {"password": "in the clear"}, "observed": MISSING}, Shown(names=False).of)
    assert row.differs and row.sides == {"desired": {"secret": "***"}} and row.hidden == ["recorded"]


def test_what_a_secret_is_called_is_for_who_may_know() -> None:
    sides = {"desired": {"password": SECRET}}
    shown = [rows(sides, Shown(names=names).of)[0].sides["desired"] for names in (True, False)]
    assert shown == [{"secret": "env/root-password"}, {"secret": "***"}]
    layer = {"password": {"secretRef": {"store": "env", "key": "root-password"}}, "old": {"$octofleet.vault": "ciphertext"}}
    assert "root-password" not in str(Shown(names=False).of(layer)) and "ciphertext" not in str(Shown(names=True).of(layer))


def test_what_differs_comes_first_and_missing_is_not_null() -> None:
    found = rows({"recorded": {"a": 1, "b": None, "c": [1, 2]}, "observed": {"a": 1, "c": [2, 1]}}, Shown(names=False).of)
    assert [(row.path, row.differs) for row in found] == [("/b", True), ("/c", True), ("/a", False)]
    assert found[0].sides == {"recorded": None}
