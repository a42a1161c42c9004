"""Collections and roles as artifacts, made with the real `ansible-galaxy` where that makes them."""

import io
import subprocess
import tarfile
from pathlib import Path

from reconciler.drivers.ansible.programs import environment_of, found
from tests.conftest import missing


def need_galaxy() -> str:
    program = found("ansible-galaxy")
    if program is None:
        missing("ansible-galaxy", "pip install 'octofleet[ansible]'")
    assert program is not None
    return program


def collection_source(
    at: Path, name: str = "example.web", version: str = "1.0.0", dependencies: str = "{}", text: str = "from a collection"
) -> Path:
    """The source of a collection with a role `greet` and a playbook `deploy`, which writes `text` into the host's directory."""
    namespace, _, short = name.partition(".")
    files = {
        "galaxy.yml": f"namespace: {namespace}\nname: {short}\nversion: {version}\nreadme: README.md\nauthors: [x]\ndependencies: {dependencies}\n",
        "README.md": "A collection of a test.\n",
        "roles/greet/tasks/main.yml": (
            f"- name: greet\n  ansible.builtin.copy:\n    content: '{text} {{{{ greeting | default(\"\") }}}}'\n"
            "    dest: '{{ base }}/greeting'\n    mode: '0644'\n"
        ),
        "playbooks/deploy.yml": f"- hosts: all\n  gather_facts: false\n  roles:\n    - {name}.greet\n",
        "meta/runtime.yml": "requires_ansible: '>=2.15.0'\n",
    }
    for path, content in files.items():
        file = at / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return at


def collection(at: Path, name: str = "example.web", version: str = "1.0.0", **more: str) -> Path:
    """Its artifact, built by `ansible-galaxy collection build` in a directory."""
    program = need_galaxy()
    source = collection_source(at / "source" / f"{name}-{version}", name, version, **more)
    home = at / "home"
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    line = [program, "collection", "build", "--force", "--output-path", str(at), str(source)]
    subprocess.run(line, env=environment_of(program, home), check=True, capture_output=True)
    return at / f"{name.replace('.', '-')}-{version}.tar.gz"


def role_archive(at: Path, text: str = "from a role", more: dict[str, str] | None = None) -> Path:
    """A role as an archive. `more`: names of further members, with `-> TARGET` for a link, else a text."""
    at.parent.mkdir(parents=True, exist_ok=True)
    task = f"- name: say\n  ansible.builtin.copy:\n    content: '{text}'\n    dest: '{{{{ base }}}}/said'\n    mode: '0644'\n"
    files = {"role/meta/main.yml": "galaxy_info:\n  author: x\n  description: x\n", "role/tasks/main.yml": task, **(more or {})}
    with tarfile.open(at, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, content.removeprefix("-> ")
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content.encode()))
    return at
