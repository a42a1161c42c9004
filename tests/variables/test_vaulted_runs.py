"""Vault texts in a project: opened by the ids of the tenant alone, kept out of what is told, refused by name where they cannot be opened."""

import json
import subprocess
from pathlib import Path

import pytest

from reconciler.drivers.ansible import vaulted
from reconciler.secrets import ansible_vault
from reconciler.secrets.settings import VaultId
from reconciler.secrets.stores import SecretStores
from reconciler.types.outcome import Status
from tests.conftest import program
from tests.drivers.ansible_world import World, need_ansible, proposed, unknown

IDS = {"prod": "pässword of prod", "dev": "dev-password"}
PLAIN = "v4ulted-t3xt"
SHOW = '- name: show\n  copy: {dest: "{{ base }}/said", content: "{{ %s }}\\n"}\n'


@pytest.fixture
def world(tmp_path: Path) -> World:
    need_ansible()
    made = World(root=tmp_path, passwords=dict(IDS))
    made.host("a")
    return made


def real(plaintext: str, label: str, tmp: Path, password: str = "") -> str:
    """What the real ansible-vault makes of it; without a label of version 1.1."""
    key = tmp / f"key-{label or 'default'}"
    key.write_text(password or IDS[label or "prod"])
    given = ["--vault-id", f"{label}@{key}", "--encrypt-vault-id", label] if label else ["--vault-password-file", str(key)]
    command = [program("ansible-vault", "ansible-core"), "encrypt", *given, "--output", "-"]
    return subprocess.run(command, input=plaintext, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def inline(name: str, text: str, tag: str = "!vault") -> str:
    return f"{name}: {tag} |\n" + "".join(f"      {line}\n" for line in text.splitlines())


def test_inline_values_and_vaulted_files_work_and_are_not_told(world: World, tmp_path: Path) -> None:
    world.write("web/group_vars/all.yml", "common: &x {a: 1}\nother: *x\n" + inline("one", real(PLAIN, "prod", tmp_path)))
    world.write("web/host_vars/a.yml", real("two: sec0nd-v4lue\nport: 8080\n", "dev", tmp_path))
    world.write("web/roles/r/vars/main.yml", inline("three", real("th1rd-v4lue", "", tmp_path)))
    world.write("web/key.pem", real("line 0ne of a key\nline tw0 of a key\n", "prod", tmp_path))
    world.write(
        "web/site.yml",
        "- hosts: all\n  gather_facts: false\n  roles: [r]\n  tasks:\n"
        '    - copy: {dest: "{{ base }}/key", src: key.pem}\n'
        + "".join(f"    {line}\n" for line in (SHOW % "one ~ two ~ three ~ port").splitlines())
        + '    - name: say\n      debug: {msg: "{{ one | b64encode }} {{ two }} {{ three }}"}\n      changed_when: true\n',
    )
    found = proposed(world.observe()["a.web"])
    told = repr(found) + repr(world.apply()) + repr(world.logged)
    assert (world.base("a") / "said").read_text() == PLAIN + "sec0nd-v4lue" + "th1rd-v4lue" + "8080\n"
    assert (world.base("a") / "key").read_text() == "line 0ne of a key\nline tw0 of a key\n"
    for secret in (PLAIN, "sec0nd-v4lue", "th1rd-v4lue", "line tw0 of a key", "djR1bHRlZC10M3h0", *IDS.values()):
        assert secret not in told
    assert "***" in told


def test_only_ids_that_the_project_needs_reach_the_run(world: World, tmp_path: Path) -> None:
    world.write("web/group_vars/all.yml", inline("one", real(PLAIN, "prod", tmp_path)))
    world.tasks(
        '- name: which\n  vars: {dir: "{{ playbook_dir | dirname }}/vault"}\n  copy:\n    dest: "{{ base }}/said"\n'
        "    content: \"{{ query('fileglob', dir ~ '/*') | length }}\"\n"
    )
    assert {item.status for item in world.apply().values()} == {Status.DONE}
    assert (world.base("a") / "said").read_text() == "1"


def test_an_id_that_is_not_granted_is_refused_by_file_and_name(world: World, tmp_path: Path) -> None:
    world.write("web/group_vars/all.yml", "a: 1\n" + inline("one", real(PLAIN, "ops", tmp_path, password="else")))
    world.tasks(SHOW % "one")
    found = unknown(world.observe()["a.web"])
    assert found.code == "secret-unavailable"
    assert "web/group_vars/all.yml:2 needs the vault id ops, and the tenant shop may not use it" in found.reason
    outcome = world.apply()["a.web"]
    assert outcome.status is Status.FAILED and "needs the vault id ops" in outcome.error
    assert not (world.base("a") / "said").exists()
    world.passwords.clear()
    world.write("web/group_vars/all.yml", inline("one", real(PLAIN, "", tmp_path)))
    assert "web/group_vars/all.yml:1 needs a vault id, and the tenant shop" in unknown(world.observe()["a.web"]).reason


HOSTILE = {
    "a header alone": b"$ANSIBLE_VAULT;1.1;AES256\n",
    "an unknown version": b"$ANSIBLE_VAULT;9.9;ROT13;{{ 7*7 }}\n3030\n",
    "no hexadecimal": b"$ANSIBLE_VAULT;1.1;AES256\nzz\n",
    "binary": b"$ANSIBLE_VAULT;1.1;AES256\n\x00\xff\xfe\n",
    "huge": b"$ANSIBLE_VAULT;1.1;AES256\n" + b"30" * 3_000_000,
    "carriage returns alone": b"$ANSIBLE_VAULT;1.1;AES256\r3030\r",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_garbage_is_refused_without_a_traceback(tmp_path: Path, what: str) -> None:
    (tmp_path / "{{ 7*7 }}.yml").write_bytes(HOSTILE[what])
    keys = {name: vaulted.SecretValue(password) for name, password in IDS.items()}
    with pytest.raises(vaulted.Permanent, match=r"p/\{\{ 7\*7 \}\}.yml:1 holds a vault value that cannot be read") as caught:
        vaulted.opened(tmp_path, "p", "shop", lambda: keys)
    assert len(str(caught.value)) < 400


def test_reads_what_is_wrapped_otherwise_and_leaves_links_alone(tmp_path: Path) -> None:
    text = ansible_vault.encrypt(PLAIN.encode(), IDS["prod"].encode(), "prod")
    (tmp_path / "crlf.yml").write_bytes(inline("one", text).replace("\n", "\r\n").encode())
    (tmp_path / "quoted.json").write_text(json.dumps({"one": {"__ansible_vault": text}}))
    (tmp_path / "broken.yml").write_text("a: [\n" + inline("one", text))
    (tmp_path / "notes.md").write_text(f"for example\n{text[:40]}\n")
    (tmp_path / "comment.yml").write_text("# $ANSIBLE_VAULT;1.1;AES256\n# 3030\n")
    (tmp_path / "link.yml").symlink_to("/etc/passwd")
    (tmp_path / "nested").write_text(ansible_vault.encrypt(inline("b", text).encode(), IDS["dev"].encode(), "dev"))
    found = vaulted.opened(tmp_path, "p", "shop", lambda: {name: vaulted.SecretValue(word) for name, word in IDS.items()})
    assert found.count == 5 and found.ids == {"prod", "dev"} and PLAIN in found.secrets


def test_nothing_is_asked_where_there_is_no_vault_text(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("a: 1\n")
    assert vaulted.opened(tmp_path, "p", "shop", lambda: pytest.fail("asked")).ids == set()


def test_a_tenant_has_the_passwords_of_its_own_ids_alone(tmp_path: Path) -> None:
    for name, password in IDS.items():
        (tmp_path / name).write_text(password + "\n")
    ids = [
        VaultId(name=name, tenants=tenants, password_file=tmp_path / name)
        for name, tenants in (("prod", ("shop",)), ("dev", ("*",)), ("gone", ("lab",)))
    ]
    stores = SecretStores([], ids, b"k" * 32)
    assert {name: word.reveal() for name, word in stores.passwords("shop").items()} == IDS
    assert set(stores.passwords("bank")) == {"dev"} and IDS["dev"] not in repr(stores.passwords("bank"))
    with pytest.raises(vaulted.Permanent, match="the password file of the vault id gone cannot be read"):
        stores.passwords("lab")


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"prod": vaulted.SecretValue(IDS["prod"])}

    def refused(plaintext: str) -> str:
        (tmp_path / "a").write_text(ansible_vault.encrypt(plaintext.encode(), IDS["prod"].encode(), "prod"))
        with pytest.raises(vaulted.Permanent) as caught:
            vaulted.opened(tmp_path, "p", "shop", lambda: keys)
        return str(caught.value)

    assert "one longer than" in refused("x" * (vaulted.MAX_SECRET + 1))
    assert "more than 2000 texts" in refused("".join(f"k{n}: value{n}\n" for n in range(vaulted.MAX_SECRETS + 1)))
    monkeypatch.setattr(vaulted, "MAX_TEXTS", 2)
    for name in "bcd":
        (tmp_path / name).write_text(ansible_vault.encrypt(b"x: long-value", IDS["prod"].encode(), "prod"))
    assert "more than 2 vault values" in refused("x: long-value")


def test_short_words_of_a_vaulted_file_are_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(ansible_vault.encrypt(b"a: 80\nb: true\nc: s3cret\nd: ['', no]\n", IDS["dev"].encode(), "dev"))
    assert vaulted.opened(tmp_path, "p", "shop", lambda: {"dev": vaulted.SecretValue(IDS["dev"])}).secrets == {"s3cret"}
