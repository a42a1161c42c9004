"""A secret's plaintext cannot be printed, formatted, serialised, pickled or copied by accident."""

import copy
import json
import logging
import pickle

import msgspec
import pytest

from reconciler.types.canonical import canonical, pack
from reconciler.types.values import Secret, SecretRef, SecretValue, holds_secret

PLAIN = "correct horse battery"
VALUE = SecretValue(PLAIN)


@pytest.mark.parametrize(
    "text",
    [
        repr(VALUE),
        str(VALUE),
        f"{VALUE}",
        f"{VALUE!r}",
        f"{VALUE:>40}",
        "%s" % VALUE,  # noqa: UP031
        "%r" % (VALUE,),  # noqa: UP031
        f"{VALUE}",
        repr([VALUE]),
        str({"a": VALUE}),
        f"{(VALUE,)}",
    ],
)
def test_printing_shows_stars(text: str) -> None:
    assert PLAIN not in text
    assert "***" in text


@pytest.mark.parametrize(
    "take",
    [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, msgspec.to_builtins, canonical, pack, vars, hash],
    ids=lambda f: f.__name__,
)
def test_serialising_raises(take: object) -> None:
    with pytest.raises(TypeError) as caught:
        take(VALUE)  # type: ignore[operator]
    assert PLAIN not in str(caught.value)


def test_it_is_revealed_on_purpose_only(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger().warning("it is %s and %r", VALUE, [VALUE])
    assert PLAIN not in caplog.text
    assert VALUE.reveal() == PLAIN
    assert SecretValue(PLAIN) == VALUE
    assert SecretValue("other") != VALUE
    assert VALUE != PLAIN


def test_a_secret_in_a_specification_prints_nothing_of_itself() -> None:
    secret = Secret(ref=SecretRef(store="", key="$ANSIBLE_VAULT;1.1;AES256 3132"), token="tok")
    assert "tok" not in f"{secret} {secret!r}" and "3132" not in f"{secret} {secret!r}"
    assert str(secret.ref) == "vault value"


@pytest.mark.parametrize(("tree", "holds"), [({"a": [1, {"b": 1}]}, False), ("secret", False), ([["x", {"y": 0}]], True), ({"k": 0}, True)])
def test_holds_secret_finds_it_anywhere(tree: object, holds: bool) -> None:
    secret = Secret(ref=SecretRef(store="s", key="k"), token="t")

    def planted(value: object) -> object:
        if isinstance(value, dict):
            return {key: planted(item) for key, item in value.items()}
        if isinstance(value, list):
            return [planted(item) for item in value]
        return secret if value == 0 else value

    assert holds_secret(planted(tree)) is holds
