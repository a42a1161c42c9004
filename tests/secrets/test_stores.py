"""Environment, directory and Ansible Vault stores; grants; tokens; and no secret in any error."""

import copy
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import OctofleetError, Permanent, Refused
from reconciler.secrets import ansible_vault
from reconciler.secrets.settings import DirectoryStore, EnvStore, VaultId
from reconciler.secrets.stores import SecretStores
from reconciler.types.values import SecretRef
from tests.conftest import missing

KEY = b"k" * 32
PLAIN = "pl4in-t3xt"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEET_DB", PLAIN)
    monkeypatch.setenv("OTHER", "not ours")
    root = tmp_path / "store"
    (root / "sub").mkdir(parents=True)
    for name, data in {"db": PLAIN + "\n", "sub/x": "sub", "two": "a\n\n", "crlf": "a\r\n", "bare": "a", "cr": "a\r", "empty": ""}.items():
        (root / name).write_bytes(data.encode())
        (root / name).chmod(0o640)
    (root / "binary").write_bytes(b"\xff" + PLAIN.encode())
    (root / "binary").chmod(0o600)
    (tmp_path / "outside").write_text(PLAIN)
    (tmp_path / "outside").chmod(0o600)
    (root / "leaves").symlink_to("../outside")
    (root / "stays").symlink_to("sub/x")
    (root / "loop").symlink_to("loop")
    (root / "open").write_text(PLAIN)
    (root / "open").chmod(0o644)
    os.mkfifo(root / "pipe", 0o600)
    return tmp_path


@pytest.fixture
def stores(home):
    return SecretStores(
        [
            EnvStore(name="env", prefix="FLEET_", tenants=("shop",)),
            EnvStore(name="open", prefix="", tenants=("*",)),
            DirectoryStore(name="dir", path=home / "store", tenants=("*",)),
            DirectoryStore(name="gone", path=home / "nope", tenants=("*",)),
        ],
        [],
        KEY,
    )


def value(stores, store, key, tenant="shop"):
    return stores.value(SecretRef(store=store, key=key), tenant).reveal()


def fails(kind, code, function, *arguments):
    with pytest.raises(OctofleetError) as caught:
        function(*arguments)
    error = caught.value
    assert (type(error), error.code) == (kind, code), str(error)
    assert error.hint
    seen = f"{error} {error!r} {error.__dict__} {''.join(traceback.format_exception(error))}"
    assert PLAIN not in seen
    assert "vault-password-of" not in seen
    return error


def test_values(stores):
    assert value(stores, "env", "DB") == PLAIN
    assert value(stores, "dir", "db") == PLAIN
    assert value(stores, "dir", "sub/x") == value(stores, "dir", "stays") == "sub"
    assert [value(stores, "dir", key) for key in ("two", "crlf", "bare", "cr", "empty")] == ["a\n", "a", "a", "a\r", ""]


def test_grants(stores):
    error = fails(Refused, "secret-not-granted", value, stores, "env", "DB", "bank")
    assert "bank" in str(error)
    assert "secrets.stores.env.tenants" in error.hint
    fails(Refused, "secret-not-granted", value, stores, "env", "DB", "")
    fails(Refused, "secret-not-granted", stores.token, SecretRef(store="env", key="DB"), "bank")
    assert value(stores, "dir", "db", "") == PLAIN
    fails(Permanent, "secret-store-unknown", value, stores, "nope", "DB")


def test_a_tenant_called_star_gets_nothing_more(home):
    only = SecretStores([EnvStore(name="env", prefix="FLEET_", tenants=("shop",))], [], KEY)
    fails(Refused, "secret-not-granted", value, only, "env", "DB", "*")


def test_keys_that_are_refused(stores):
    for key in ("../outside", "/etc/passwd", "sub/../db", "", ".", "..", ".hidden", "a\0b", "a\n", "sub//x", "db/", "é", "x" * 200):
        fails(Permanent, "secret-key", value, stores, "dir", key)
    for key in ("", "A-B", "A=B", "A\0", "../X", "é"):
        fails(Permanent, "secret-key", value, stores, "env", key)
    for store, key, kind, code in (
        ("dir", "nope", Permanent, "secret-missing"),
        ("dir", "db/x", Permanent, "secret-missing"),
        ("gone", "db", Permanent, "secret-missing"),
        ("env", "NOPE", Permanent, "secret-missing"),
        ("dir", "leaves", Refused, "secret-escape"),
        ("dir", "open", Refused, "secret-mode"),
        ("dir", "binary", Permanent, "secret-encoding"),
        ("dir", "sub", Permanent, "secret-key"),
        ("dir", "pipe", Permanent, "secret-key"),
        ("open", "OTHER", Permanent, "secret-settings"),
    ):
        fails(kind, code, value, stores, store, key)
    with pytest.raises(OctofleetError):
        value(stores, "dir", "loop")


def test_tokens(stores, home):
    token = stores.token(SecretRef(store="env", key="DB"), "shop")
    assert token == stores.token(SecretRef(store="dir", key="db"), "shop")
    assert len(token) == 64
    assert PLAIN not in token
    other = SecretStores([EnvStore(name="env", prefix="FLEET_", tenants=("*",))], [], b"z" * 32)
    assert other.token(SecretRef(store="env", key="DB"), "shop") != token
    (home / "store/db").write_text("rotated")
    assert stores.token(SecretRef(store="dir", key="db"), "shop") != token


def test_settings_that_are_refused():
    fails(Permanent, "installation-key", SecretStores, [], [], b"short")
    twice = EnvStore(name="a", prefix="A_", tenants=())
    fails(Permanent, "secret-settings", SecretStores, [twice, twice], [], KEY)


def test_a_value_hides(stores, caplog):
    found = stores.value(SecretRef(store="env", key="DB"), "shop")
    logging.getLogger("x").warning("%s %r %s", found, found, {"a": found})
    for text in (repr(found), str(found), f"{found}", f"{found:>9}", repr([found]), repr(stores), caplog.text, repr(vars(stores))):
        assert PLAIN not in text
    for leak in (pickle.dumps, copy.copy, json.dumps):
        with pytest.raises(TypeError):
            leak(found)


# Ansible Vault, with the real ansible-vault as peer


def ansible(*arguments, text=""):
    beside = Path(sys.executable).parent / "ansible-vault"
    found = str(beside) if beside.exists() else shutil.which("ansible-vault")
    if found is None:
        missing("ansible-vault", "pip install ansible-core")
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "ANSIBLE_LOCAL_TEMP": "/tmp/ansible-test"}
    return subprocess.run([found, *arguments], input=text, env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Vault texts by the real program, and the ids' password files."""
    root = tmp_path_factory.mktemp("vault")
    for name in ("prod", "dev"):
        (root / name).write_text(f"vault-password-of-{name}\n")
    one = ansible("encrypt", "--vault-password-file", str(root / "prod"), "--output", "-", text=PLAIN)
    two = ansible("encrypt", "--vault-id", f"dev@{root / 'dev'}", "--encrypt-vault-id", "dev", "--output", "-", text=PLAIN)
    lines = ansible("encrypt", "--vault-password-file", str(root / "prod"), "--output", "-", text="é\nline two\n")
    assert one.startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert two.startswith("$ANSIBLE_VAULT;1.2;AES256;dev\n")
    return root, one, two, lines


def ids(root, *names, tenants=("shop",)):
    return [VaultId(name=name, tenants=tenants, password_file=root / name) for name in names]


def test_what_ansible_vault_encrypts(sealed):
    root, one, two, lines = sealed
    stores = SecretStores([], ids(root, "dev", "prod"), KEY)
    assert [value(stores, "", text) for text in (one, two, lines)] == [PLAIN, PLAIN, "é\nline two\n"]
    assert value(stores, "", "\n".join("  " + line for line in one.splitlines())) == PLAIN
    tokens = {stores.token(SecretRef(store="", key=text), "shop") for text in (one, two, one)}
    assert len(tokens) == 1
    assert tokens == {SecretStores([], ids(root, "prod"), KEY).token(SecretRef(store="", key=one), "shop")}


def test_the_label_is_tried_first(sealed, monkeypatch):
    root, _, two, _ = sealed
    tried = []
    real = ansible_vault.decrypt
    monkeypatch.setattr(ansible_vault, "decrypt", lambda envelope, password: tried.append(password) or real(envelope, password))
    assert value(SecretStores([], ids(root, "prod", "dev"), KEY), "", two) == PLAIN
    assert tried == [b"vault-password-of-dev"]


def test_vault_refusals(sealed, tmp_path):
    root, one, two, _ = sealed
    fails(Permanent, "vault-password", value, SecretStores([], ids(root, "dev"), KEY), "", one)
    assert "names the vault id dev" in str(fails(Permanent, "vault-password", value, SecretStores([], ids(root, "prod"), KEY), "", two))
    granted = SecretStores([], ids(root, "prod"), KEY)
    assert granted.token(SecretRef(store="", key=one), "shop")
    for call in (granted.value, granted.token):
        fails(Refused, "secret-not-granted", call, SecretRef(store="", key=one), "bank")
    header = "$ANSIBLE_VAULT;1.1;AES256\n"
    for text in (
        "",
        "x",
        header,
        header + "zz",
        header + "6162",
        header + "61" * 50,
        one.replace("1.1", "1.0"),
        one[:-10],
        one.replace("AES256", "AES"),
    ):
        fails(Permanent, "vault-malformed", value, granted, "", text)
    fails(Permanent, "secret-settings", value, SecretStores([], ids(tmp_path, "nope"), KEY), "", one)
    (tmp_path / "empty").write_text(" \n")
    fails(Permanent, "secret-settings", value, SecretStores([], ids(tmp_path, "empty"), KEY), "", one)


def test_a_changed_ciphertext_is_refused(sealed):
    root, one, _, _ = sealed
    envelope = ansible_vault.parse(one)
    for name in ("salt", "mac", "ciphertext"):
        data = bytearray(getattr(envelope, name))
        data[-1] ^= 1
        parts = {"salt": envelope.salt, "mac": envelope.mac, "ciphertext": envelope.ciphertext} | {name: bytes(data)}
        body = b"\n".join(part.hex().encode() for part in parts.values()).hex()
        fails(Permanent, "vault-password", value, SecretStores([], ids(root, "prod"), KEY), "", "$ANSIBLE_VAULT;1.1;AES256\n" + body)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text):
    for candidate in (text, "$ANSIBLE_VAULT;1.1;AES256\n" + text, "$ANSIBLE_VAULT;1.2;AES256;x\n" + text.encode().hex()):
        with pytest.raises(ansible_vault.Malformed):
            ansible_vault.parse(candidate)
