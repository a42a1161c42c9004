"""kill -9 at every commit and every effect of an apply; then the same command again converges, loses nothing and repeats nothing."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from reconciler.drivers.memory import World
from tests.apply.dying import forked
from tests.fleets import FLEET, host, repo

PARTS = 4
ENV = {"OCTOFLEET_MEMORY__OPERATION_S": "0.03"}

BEFORE = {f"host-{n}.yaml": host(f"web-{n:02d}", n) for n in range(1, 5)}
AFTER = {
    "host-1.yaml": host("web-01", 1, spec='  os: {version: "13"}\n'),  # replaces the machine and all that lives on it
    "host-2.yaml": host("web-20", 2, metadata="  moved: {from: web-02}\n"),
    "host-3.yaml": None,
    "host-4.yaml": host("web-04", 4, spec="  packages: [htop]\n"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a repository and an installation that applied its first commit; the second waits."""
    from tests.fleets import fleet

    root = tmp_path_factory.mktemp("prepared")
    made = repo(root / "repo", {"fleet.yaml": FLEET} | fleet(hosts=0) | BEFORE)
    log = root / "log"
    assert forked(root / "data", "apply", "--approve", "--repo", str(made.path), env=ENV, log=log) == 0, log.read_text()
    made.commit(AFTER)
    return root


def world(root: Path) -> tuple[dict[str, object], dict[str, bytes], Counter[tuple[str, str]], Counter[tuple[str, str, str]]]:
    """What there is, what is published, and every effect with and without its step."""
    memory = World(str(root / "data" / "memory.db"))
    boot = root / "data" / "boot"
    files = {str(p.relative_to(boot)): p.read_bytes() for p in boot.rglob("*") if p.is_file() and not p.name.startswith(".octofleet-")}
    effects = memory.effects()
    return memory.things(), files, Counter((action, where) for _, action, where in effects), Counter(effects)


@pytest.fixture(scope="module")
def clean(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, object, object]:
    """How the world is after an apply that nothing disturbed."""
    root = tmp_path_factory.mktemp("clean") / "it"
    shutil.copytree(prepared, root)
    assert forked(root / "data", "apply", "--approve", "--repo", str(prepared / "repo"), env=ENV, log=root / "log") == 0, (
        root / "log"
    ).read_text()
    things, files, effects, _ = world(root)
    addresses = set(things)
    assert "memory/machine/shop/web-20" in addresses and "memory/machine/shop/web-02" not in addresses
    assert "memory/machine/shop/web-03" not in addresses
    assert effects["delete", "memory/machine/shop/web-01"] == 1 and effects["create", "memory/machine/shop/web-01"] == 2
    assert things["memory/machine/shop/web-01"][0]["values"]["os"]["version"] == "13"  # type: ignore[index]
    return things, files, effects


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_every_point_the_same_command_converges(
    prepared: Path, clean: tuple[object, object, object], tmp_path: Path, part: int
) -> None:
    n, killed = part + 1, 0
    while True:
        root = tmp_path / str(n)
        shutil.copytree(prepared, root)
        log = root / "log"
        apply = ("apply", "--approve", "--repo", str(prepared / "repo"))
        code = forked(root / "data", *apply, n=n, env=ENV, log=log)
        if code == 0:
            break
        assert code == -9, f"n={n}: {log.read_text()}"
        killed += 1
        again = forked(root / "data", *apply, env=ENV, log=log)
        assert again == 0, f"n={n}: {again}\n{log.read_text()}"
        assert forked(root / "data", "plan", "--refresh", "--repo", str(prepared / "repo"), env=ENV, log=log) == 0, (
            f"n={n}: {log.read_text()}"
        )
        things, files, effects, by_step = world(root)
        assert (things, files) == clean[:2], f"n={n}"
        assert effects == clean[2], f"n={n}: {effects - clean[2]} {clean[2] - effects}"  # type: ignore[operator]
        assert max(by_step.values()) == 1
        shutil.rmtree(root)
        n += PARTS
    assert killed >= 5
