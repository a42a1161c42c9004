"""What requirements files may say: everything pinned, and told by file and line where it is not."""

import pytest

from reconciler.drivers.ansible.requirements import How, requirements
from reconciler.errors import Permanent

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def project(tmp_path, **files):
    for name, text in files.items():
        file = tmp_path / (name.replace("__", "/") + ".yml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_a_project_without_files_needs_nothing(tmp_path):
    assert requirements(tmp_path, "") == ()


def test_every_pinned_form_is_taken(tmp_path):
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "x.tar.gz").write_bytes(b"x")
    found = requirements(
        project(
            tmp_path,
            requirements=f"""\
collections:
  - example.web:1.2.3
  - name: example.db
    version: "==2.0.0-rc.1"
    source: https://galaxy.example.net/
  - name: https://git.example.net/c.git
    type: git
    version: {COMMIT}
  - name: git+https://git.example.net/d.git#/inner/part,{COMMIT}
  - name: artifacts/x.tar.gz
    type: file
roles:
  - src: https://git.example.net/r.git
    scm: git
    version: {COMMIT}
  - src: artifacts/x.tar.gz
    name: local
""",
            roles__requirements=f"- src: git+ssh://git@git.example.net/s\n  version: {COMMIT}\n  name: other\n",
            collections__requirements='collections:\n  - name: example.third\n    version: "1.0.0"\n',
        ),
        "web",
    )
    assert [(entry.kind, entry.how, entry.name, entry.version, entry.source, entry.path) for entry in found] == [
        ("collections", How.GALAXY, "example.web", "1.2.3", "", ""),
        ("collections", How.GALAXY, "example.db", "2.0.0-rc.1", "https://galaxy.example.net/", ""),
        ("collections", How.GIT, "https://git.example.net/c.git", COMMIT, "https://git.example.net/c.git", ""),
        (
            "collections",
            How.GIT,
            f"git+https://git.example.net/d.git#/inner/part,{COMMIT}",
            COMMIT,
            "https://git.example.net/d.git",
            "inner/part",
        ),
        ("collections", How.FILE, "artifacts/x.tar.gz", "", "", "artifacts/x.tar.gz"),
        ("roles", How.GIT, "r", COMMIT, "https://git.example.net/r.git", ""),
        ("roles", How.FILE, "local", "", "", "artifacts/x.tar.gz"),
        ("collections", How.GALAXY, "example.third", "1.0.0", "", ""),
        ("roles", How.GIT, "other", COMMIT, "ssh://git@git.example.net/s", ""),
    ]
    assert str(found[0].origin) == "web/requirements.yml:2:5"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("collections:\n  - example.web\n", r"web/requirements.yml:2:5: the collection example.web is not pinned; write an exact version"),
        ('collections:\n  - name: example.web\n    version: ">=1.0.0"\n', "web/requirements.yml:2:5: .*not pinned"),
        ("collections:\n  - name: example.web\n    version: 1.0\n", "quote a version"),
        (
            "collections:\n  - name: https://git.example.net/c.git\n    type: git\n    version: main\n",
            "main may change; write version: with the whole id",
        ),
        ("collections:\n  - name: https://git.example.net/c.git\n    type: git\n", "no version may change"),
        ("collections:\n  - name: https://x.example.net/a.tar.gz\n    type: url\n", "commit the artifact"),
        ("collections:\n  - name: https://x.example.net/a.tar.gz\n", "commit the artifact"),
        ("collections:\n  - name: here\n    type: dir\n", "collections/ansible_collections"),
        ("collections:\n  - name: ../a.tar.gz\n", "is not in the project"),
        ("collections:\n  - name: /etc/a.tar.gz\n", "is not in the project"),
        ("collections:\n  - name: none.tar.gz\n", "the project has no file none.tar.gz"),
        ("collections:\n  - name: example.web\n    version: 1.0.0\n    signatures: [x]\n", "the key signatures is not taken"),
        ("roles:\n  - src: someone.nginx\n    version: 1.0.0\n", "the role someone.nginx is not pinned.*scm: git"),
        ("- someone.nginx\n", "web/requirements.yml:1:3: the role someone.nginx is not pinned"),
        ("roles:\n  - include: more.yml\n", "the key include is not taken"),
        ("roles:\n  - src: https://git.example.net/r.git\n    scm: git\n    version: v1.0\n", "v1.0 may change"),
        ("roles:\n  - src: https://git.example.net/-/..\n    scm: git\n", "is no name of a role"),
        ("playbooks:\n  - x\n", "playbooks is nothing that is required"),
        ("collections:\n", "must hold `collections:` or `roles:`"),
        ("collections: [\n", "web/requirements.yml"),
        ("collections: &a\n  - example.web:1.0.0\n", "anchor"),
        ("collections:\n  - example.web:1.0.0\n  - example.web:1.1.0\n", "required otherwise at web/requirements.yml:2:5"),
    ],
)
def test_what_is_not_pinned_is_refused_with_what_to_write(tmp_path, text, told):
    with pytest.raises(Permanent, match=told) as raised:
        requirements(project(tmp_path, requirements=text), "web")
    assert raised.value.code == "requirements-refused"


def test_an_artifact_behind_a_link_that_leaves_is_refused(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "outside.tar.gz").write_bytes(b"x")
    (tmp_path / "p" / "a.tar.gz").symlink_to("../outside.tar.gz")
    with pytest.raises(Permanent, match=r"no file a\.tar\.gz"):
        requirements(project(tmp_path / "p", requirements="collections:\n  - a.tar.gz\n"), "")


def test_many_wrong_entries_are_counted(tmp_path):
    text = "collections:\n" + "".join(f"  - example.c{number}\n" for number in range(20))
    with pytest.raises(Permanent, match="and 15 more"):
        requirements(project(tmp_path, requirements=text), "")
