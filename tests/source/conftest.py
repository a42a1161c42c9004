"""Real repositories for the tests of sources."""

import pytest

from tests.source.servers import git


@pytest.fixture
def repo(tmp_path):
    """A repository on `main` with two manifests and some other files, one commit."""
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    for name, text in {
        "a.yaml": "a: 1\n",
        "hosts/b.yml": "b: 1\n",
        "hosts/readme.md": "x\n",
        ".github/c.yaml": "c: 1\n",
        ".d.yaml": "d\n",
    }.items():
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text(text)
    commit(root, "one\n\nbody")
    return root


def commit(root, message="change"):
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", message)
    return git(root, "rev-parse", "HEAD")
