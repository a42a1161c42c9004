"""HashiCorp Vault's KV mounts, read from a real OpenBao."""

import socket

import pytest

from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.secrets.settings import VaultStore
from reconciler.secrets.stores import SecretStores
from reconciler.types.values import SecretRef
from tests.secrets.vault_server import server

KEY = b"k" * 32
PLAIN = "pl4in-t3xt-é"


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    with server(tmp_path_factory.mktemp("bao")) as running:
        running.call("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
        running.call("POST", "secret/data/db/main", {"data": {"password": PLAIN, "value": "the default", "number": 7, "list": [1]}})
        running.call("POST", "old/db", {"value": PLAIN})
        running.call("POST", "sys/policies/acl/narrow", {"policy": 'path "secret/data/other" { capabilities = ["read"] }'})
        running.narrow = running.call("POST", "auth/token/create", {"policies": ["narrow"]})["auth"]["client_token"]
        yield running


def store(vault, monkeypatch, token=None, **change):
    monkeypatch.setenv("TEST_VAULT_TOKEN", token or vault.root)
    return VaultStore(
        **({"name": "hc", "url": vault.url, "mount": "secret", "tenants": ("shop",), "token_env": "TEST_VAULT_TOKEN"} | change)
    )


def value(of, key, tenant="shop"):
    return SecretStores([of], [], KEY).value(SecretRef(store="hc", key=key), tenant).reveal()


def fails(kind, code, of, key):
    with pytest.raises(OctofleetError) as caught:
        value(of, key)
    error = caught.value
    assert (type(error), error.code) == (kind, code), str(error)
    assert error.hint
    assert error.__cause__ is None
    for text in (PLAIN, "root-token-of-the-test"):
        assert text not in f"{error} {error!r} {error.__dict__}"
    return error


def test_versions_one_and_two(vault, monkeypatch, tmp_path):
    two, one = store(vault, monkeypatch), store(vault, monkeypatch, mount="old", kv_version=1)
    assert value(two, "db/main#password") == PLAIN
    assert value(two, "db/main") == "the default"
    assert value(two, "db/main#number") == "7"
    assert value(one, "db") == PLAIN
    token_file = tmp_path / "token"
    token_file.write_text(vault.root + "\n")
    assert value(store(vault, monkeypatch, token_env="", token_file=token_file), "db/main") == "the default"
    tokens = {
        SecretStores([of], [], KEY).token(SecretRef(store="hc", key=key), "shop") for of, key in ((two, "db/main#password"), (one, "db"))
    }
    assert len(tokens) == 1


def test_a_new_version_has_a_new_token(vault, monkeypatch):
    stores = SecretStores([store(vault, monkeypatch)], [], KEY)
    ref = SecretRef(store="hc", key="rotated")
    seen = []
    for text in ("one", "two", "one"):
        vault.call("POST", "secret/data/rotated", {"data": {"value": text}})
        seen.append(stores.token(ref, "shop"))
    assert seen[0] == seen[2] != seen[1]


def test_what_is_not_there(vault, monkeypatch):
    two = store(vault, monkeypatch)
    for key in ("nope", "db/main#nope", "db"):
        assert fails(Permanent, "secret-missing", two, key)
    vault.call("POST", "secret/data/deleted", {"data": {"value": "x"}})
    vault.call("DELETE", "secret/data/deleted")
    fails(Permanent, "secret-missing", two, "deleted")
    fails(Permanent, "secret-encoding", two, "db/main#list")
    fails(Permanent, "secret-missing", store(vault, monkeypatch, kv_version=1), "db/main")
    for key in ("../sys/mounts", "a/../b", "/a", "a//b", "", "a#", "a#b/c", "a\0", "a\nb", "x?list=true"):
        fails(Permanent, "secret-key", two, key)


def test_tokens_that_do_not_fit(vault, monkeypatch, tmp_path):
    fails(Permanent, "secret-forbidden", store(vault, monkeypatch, token="wrong"), "db/main")
    fails(Permanent, "secret-forbidden", store(vault, monkeypatch, token=vault.narrow), "db/main")
    fails(Permanent, "secret-settings", store(vault, monkeypatch, token_env="UNSET_VARIABLE"), "db/main")
    fails(Permanent, "secret-settings", store(vault, monkeypatch, token_file=tmp_path / "nope"), "db/main")


def test_unreachable(vault, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fails(RetryLater, "secret-unreachable", store(vault, monkeypatch, url=f"http://127.0.0.1:{port}"), "db/main")


def test_sealed(tmp_path, monkeypatch):
    with server(tmp_path) as running:
        running.call("POST", "secret/data/x", {"data": {"value": "y"}})
        running.call("PUT", "sys/seal")
        assert "sealed" in str(fails(RetryLater, "secret-unreachable", store(running, monkeypatch), "x"))


def test_tls(tmp_path, monkeypatch):
    with server(tmp_path, tls=True) as running:
        running.call("POST", "secret/data/x", {"data": {"value": "y"}})
        assert value(store(running, monkeypatch, ca_file=running.ca_file), "x") == "y"
        fails(Permanent, "untrusted-host", store(running, monkeypatch), "x")
        fails(Permanent, "secret-settings", store(running, monkeypatch, ca_file=tmp_path / "nope"), "x")
