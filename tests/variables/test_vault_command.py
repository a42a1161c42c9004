"""`octofleet vault`: encrypt and rekey, compatible with the real ansible-vault both ways; all files or none; plaintexts never told."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from reconciler import files
from reconciler.errors import Permanent
from reconciler.secrets import ansible_vault
from reconciler.secrets.rekey import Key, rekeyed
from tests.cli.command import quick
from tests.conftest import program
from tests.drivers.ansible_world import need_ansible
from tests.fleets import Repo, Result, fleet, host, octofleet, repo

PLAIN = "pl4in-t3xt"
OLD, NEW = Key(name="old", password=b"old-password"), Key(name="new", password=b"new-password")


def sealed(plaintext: str, key: Key = OLD, label: str | None = None) -> str:
    return ansible_vault.encrypt(plaintext.encode(), key.password, key.name if label is None else label)


def unnamed(text: str) -> str:
    """As version 1.1, which names no id."""
    return "$ANSIBLE_VAULT;1.1;AES256\n" + text.split("\n", 1)[1]


def block(name: str, text: str, indent: int = 2) -> str:
    return f"{name}: !vault |\n" + "".join(f"{' ' * indent}{line}\n" for line in text.splitlines())


def opened(text: str, key: Key = NEW) -> str:
    return ansible_vault.decrypt(ansible_vault.parse(text), key.password).decode()


class Place:
    """A data directory with the ids old, new and default, and a repository."""

    def __init__(self, root: Path, tracked: dict[str, str | bytes | None]) -> None:
        self.root, self.data = root, root / "data"
        self.data.mkdir()
        settings = ""
        for name in ("old", "new", "default"):
            (root / name).write_text(f"{name}-password\n")
            settings += f'[secrets.vault_ids.{name}]\ntenants = ["*"]\npassword_file = "{root / name}"\n'
        (self.data / "octofleet.toml").write_text(settings)
        self.repo: Repo = repo(root / "repo", tracked)

    def rekey(self, *args: str, old: str = "old", new: str = "new") -> Result:
        return quick(self.data, "vault", "rekey", "--from", old, "--to", new, "--repo", str(self.repo.path), *args)

    def read(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.repo.path)): path.read_bytes()
            for path in self.repo.path.rglob("*")
            if path.is_file() and ".git" not in path.parts
        }


def ansible(*args: str, text: str = "") -> str:
    command = [program("ansible-vault", "ansible-core"), *args]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True, timeout=60).stdout


def test_encrypts_what_the_real_ansible_vault_opens(tmp_path: Path) -> None:
    place = Place(tmp_path, {"a": "b"})
    for given_, want in ((f"{PLAIN}é\n", f"{PLAIN}é"), ("two\nlines\n\n", "two\nlines\n"), ("x" * 15, "x" * 15), ("x" * 16, "x" * 16)):
        done = subprocess.run(
            [*_command(), "vault", "encrypt", "--id", "old", "--data-dir", str(place.data)],
            input=given_.encode(), check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        lines = done.stdout.decode().splitlines()
        assert lines[0] == "!vault |" and lines[1] == "  $ANSIBLE_VAULT;1.2;AES256;old" and given_.strip() not in done.stdout.decode()
        (tmp_path / "text").write_text("\n".join(line.strip() for line in lines[1:]) + "\n")
        assert ansible("decrypt", "--vault-id", f"old@{tmp_path / 'old'}", "--output", "-", str(tmp_path / "text")) == want


def _command() -> Sequence[str]:
    return [sys.executable, "-m", "reconciler.cli"]


@pytest.mark.parametrize("given_", [b"", b"\n", b"\xff\xfe", b"x" * (1024 * 1024 + 1)])
def test_refuses_what_is_no_value(tmp_path: Path, given_: bytes) -> None:
    place = Place(tmp_path, {"a": "b"})
    command = [*_command(), "vault", "encrypt", "--id", "old", "--data-dir", str(place.data)]
    done = subprocess.run(command, input=given_, check=False, capture_output=True, timeout=60)
    assert done.returncode == 1 and b"Traceback" not in done.stderr and b"next:" in done.stderr


def test_rekeys_everything_of_an_id_and_the_real_ansible_vault_opens_it(tmp_path: Path) -> None:
    real = ansible("encrypt", "--vault-id", f"old@{_password(tmp_path, 'old')}", "--encrypt-vault-id", "old", "--output", "-", text=PLAIN)
    other = sealed("other", Key(name="other", password=b"else"))
    manifest = "# a comment\nspec:\n  vars:\n    a:   " + block("b", real, 6).replace("b: ", "", 1) + "    c: 1   # stays\n" + "# end"
    crlf = ("x: 1\r\n" + block("y", sealed("two")).replace("\n", "\r\n") + "z: 2\r\n").encode()
    place = Place(tmp_path, {
        "hosts/web.yaml": manifest,
        "play/group_vars/all.yml": block("k", sealed("three")) + block("m", other) + block("n", sealed("three")),
        "play/group_vars/db": sealed("whole: file\n") + "\n",
        "play/files/key.pem": sealed("a key") + "\n",
        "play/crlf.yml": crlf,
        "play/quoted.json": json.dumps({"q": {"__ansible_vault": sealed("four")}}),
        "play/unnamed.yml": block("u", unnamed(sealed("five"))) + block("v", unnamed(other)),
        "README.md": f"An example\n{sealed('six')}\n",
        "comment.yml": f"a: 1 # {real.splitlines()[0]}\n",
        ".octofleet/schema.json": json.dumps(schemas.editor_schema()),
        ".gitignore": "ignored.yml\n",
    })  # fmt: skip
    (place.repo.path / "ignored.yml").write_text(block("i", sealed("seven", OLD, "old")))
    (place.repo.path / "link.yml").symlink_to("hosts/web.yaml")
    (place.repo.path / "hosts/web.yaml").chmod(0o640)
    before = place.read()
    check = place.rekey("--check")
    assert check.code == 2 and place.read() == before
    assert "8 values would be re-keyed to new; 2 of other vault ids left alone" in check.out
    done = place.rekey()
    assert done.code == 0 and PLAIN not in done.text and "8 values re-keyed to new" in done.out
    after = place.read()
    assert {name for name in before if before[name] != after[name]} == {
        "hosts/web.yaml", "link.yml", "play/group_vars/all.yml", "play/group_vars/db", "play/files/key.pem",
        "play/crlf.yml", "play/quoted.json", "play/unnamed.yml",
    }  # fmt: skip
    assert (place.repo.path / "hosts/web.yaml").stat().st_mode & 0o777 == 0o640 and (place.repo.path / "link.yml").is_symlink()
    text = after["hosts/web.yaml"].decode()
    assert text.startswith("# a comment\nspec:\n  vars:\n    a:   !vault |\n      $ANSIBLE_VAULT;1.2;AES256;new\n      ")
    assert text.endswith("    c: 1   # stays\n# end")
    assert after["play/crlf.yml"].count(b"\r\n") == after["play/crlf.yml"].count(b"\n") == crlf.count(b"\n")
    assert opened(json.loads(after["play/quoted.json"])["q"]["__ansible_vault"]) == "four"
    (tmp_path / "db").write_bytes(after["play/group_vars/db"])
    assert ansible("decrypt", "--vault-id", f"new@{tmp_path / 'new'}", "--output", "-", str(tmp_path / "db")) == "whole: file\n"
    assert place.rekey().out == "0 values re-keyed to new; 10 of other vault ids left alone\n"
    back = place.rekey(old="new", new="old")
    assert back.code == 0 and b";old" in place.read()["play/crlf.yml"]


def _password(root: Path, name: str) -> Path:
    (root / name).write_text(f"{name}-password\n")
    return root / name


WRONG = {
    "another password": (block("a", sealed("x", Key(name="old", password=b"else"))), "wrong.yml:1"),
    "garbage": ("x: 1\n" + block("a", "$ANSIBLE_VAULT;1.2;AES256;old\nzz"), "wrong.yml:2"),
    "half of it": (block("a", sealed("x")[:200]), "wrong.yml:1"),
    "folded": (block("a", sealed("x")).replace("|", ">"), "wrong.yml:1"),
    "whole and more": (sealed("x") + "\nmore\n", "wrong.yml:1"),
    "no name, for default": (block("a", unnamed(sealed("x"))), "wrong.yml:1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_value_that_does_not_open_stops_everything(tmp_path: Path, what: str) -> None:
    text, where = WRONG[what]
    old = "default" if "default" in what else "old"
    good = block("a", sealed(PLAIN, Key(name=old, password=f"{old}-password".encode())))
    place = Place(tmp_path, {"good.yml": good, "wrong.yml": text})
    before = place.read()
    done = place.rekey(old=old)
    assert done.code == 1 and where in done.err and "next:" in done.err and "Traceback" not in done.text
    assert place.read() == before and PLAIN not in done.text


def test_passwords_by_option_paths_and_the_same_name(tmp_path: Path) -> None:
    place = Place(tmp_path, {"a/x.yml": block("x", sealed("one")), "b/y.yml": block("y", sealed("two"))})
    (tmp_path / "fresh").write_text("fresh-password")
    args = ("--new-password-file", str(tmp_path / "fresh"))
    assert place.rekey(*args, str(place.repo.path / "a"), new="old").code == 0
    fresh = Key(name="old", password=b"fresh-password")
    assert opened(place.read()["a/x.yml"].decode().split("|\n")[1], fresh) == "one" and b"y: !vault" in place.read()["b/y.yml"]
    again = place.rekey(
        *args,
        new="old",
    )
    assert again.code == 0 and "1 value re-keyed to old; 1 of other vault ids left alone" in again.out
    for wrong, words in ((("nowhere.yml",), "has no file of the working copy"), ((), "is to be re-keyed to itself")):
        refused = place.rekey(*wrong, new="new" if wrong else "old")
        assert refused.code == 1 and words in refused.err
    assert "the settings have no vault id nope" in place.rekey(old="nope").err
    assert "is no name of a vault id" in place.rekey(new="{{ 7*7 }}").err
    assert "check --old-password-file" in place.rekey("--old-password-file", "/nowhere").err


def test_all_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [tmp_path / name for name in ("a", "b", "c")]
    for path in names:
        path.write_bytes(b"old")
    changes = dict.fromkeys(names, (b"old", b"new"))
    real = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if Path(target).name == "b" and self.read_bytes() == b"new":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(Permanent, match=r"cannot write .*b: No space left"):
        files.replace_files(changes)
    assert [path.read_bytes() for path in names] == [b"old"] * 3 and len(list(tmp_path.iterdir())) == 3
    monkeypatch.undo()
    names[2].unlink()
    with pytest.raises(Permanent, match="cannot write"):
        files.replace_files(changes)
    names[2].write_bytes(b"of somebody else")
    with pytest.raises(Permanent, match="c was changed meanwhile"):
        files.replace_files(changes)
    assert [path.read_bytes() for path in names] == [b"old", b"old", b"of somebody else"] and len(list(tmp_path.iterdir())) == 3


@settings(deadline=None, max_examples=40)
@given(
    before=st.text("ab:# \n-", max_size=30),
    after=st.text("ab# \n", max_size=30),
    indent=st.integers(1, 9),
    plain=st.text(max_size=40),
    crlf=st.booleans(),
)
def test_only_the_value_changes_whatever_is_around_it(before: str, after: str, indent: int, plain: str, crlf: bool) -> None:
    around = (f"# {before}".replace("\n", "\n# ") + "\n", f"# {after}".replace("\n", "\n# "))
    data = (around[0] + block("k", sealed(plain), indent) + around[1]).replace("\n", "\r\n" if crlf else "\n").encode()
    made = rekeyed("f.yml", data, OLD, NEW)
    assert len(made.lines) == 1 and made.left == 0
    start, end = data.index(b"$ANSIBLE"), data.rindex(sealed("")[0:0].encode() + around[1].replace("\n", "\r\n" if crlf else "\n").encode())
    assert made.data[:start] == data[:start] and made.data.endswith(data[end:])
    new = made.data[start : len(made.data) - (len(data) - end)].decode()
    assert opened(new) == plain
    back = rekeyed("f.yml", made.data, NEW, OLD)
    assert len(back.data) == len(data)


def test_a_rekeyed_value_is_no_change(tmp_path: Path) -> None:
    tracked = fleet(hosts=1)
    tracked["host-1.yaml"] = host(
        "web-01", 1, spec="  vars:\n" + "".join(f"    {line}\n" for line in block("t", sealed(PLAIN)).splitlines())
    )
    place = Place(tmp_path, dict(tracked))
    where = ("--repo", str(place.repo.path))
    assert octofleet(place.data, "apply", "--approve", *where).code == 0
    assert place.rekey().code == 0
    place.repo.commit({})
    done = octofleet(place.data, "plan", *where)
    assert done.code == 0, done.text
    assert PLAIN not in done.text


def test_a_rekeyed_file_of_a_project_is_checked_and_changes_no_host(tmp_path: Path) -> None:
    need_ansible()
    play = f'- hosts: all\n  gather_facts: false\n  tasks:\n    - name: write\n      copy: {{dest: "{tmp_path}/said", content: "{{{{ t }}}}"}}\n'
    tracked = fleet(hosts=1)
    tracked["role.yaml"] = (
        "apiVersion: octofleet/v1\nkind: Role\nmetadata: {name: web}\nspec:\n  ansible: {playbook: play/site.yml}\n"
        f"  vars: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}\n"
    )
    place = Place(tmp_path, {**tracked, "play/site.yml": play, "play/group_vars/role_web.yml": block("t", sealed(PLAIN))})
    where = ("--repo", str(place.repo.path))
    env = {"OCTOFLEET_ANSIBLE__VISIBLE": f'["{tmp_path}"]'}
    first = octofleet(place.data, "apply", "--approve", *where, env=env)
    assert first.code == 0, first.text
    assert (tmp_path / "said").read_text() == PLAIN
    assert place.rekey().code == 0
    place.repo.commit({})
    done = octofleet(place.data, "plan", *where, env=env)
    assert "write" not in done.text and PLAIN not in done.text
    assert octofleet(place.data, "apply", "--approve", *where).code == 0
    assert (tmp_path / "said").read_text() == PLAIN
