"""Plugins: what other packages add to Octofleet, through pluggy and the entry point group `octofleet`.

A plugin is a module or object with functions marked `@hookimpl`. Octofleet's own optional drivers are registered through the same door. The
specification is versioned: a plugin that sets `octofleet_plugin_api` to another major version is refused by name.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pluggy

from reconciler.drivers.driver import Driver
from reconciler.errors import OctofleetError
from reconciler.settings import Followed, Settings

API_VERSION = 1
GROUP = "octofleet"
METADATA = ("dist-info", "egg-info")

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a plugin adds to `octofleet serve`: HTTP routes (method, path, a handler as the server's library has it), and work in a thread of its own,
    which ends soon after `stop` is set. `pulse_s` says how often the work should move `moved_at` (seconds of `time.monotonic()`): what stands still makes
    the process unhealthy."""

    name: str
    routes: Sequence[tuple[str, str, Any]] = ()
    work: Callable[[Event], None] | None = None
    moved_at: Callable[[], float] | None = None
    pulse_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Serves:
    """What a plugin's part is given: the installation (`reconciler.wiring.Installation`) it may use in its own threads, what is followed, the id under
    which this process is known to the store, and what wakes its workers."""

    installation: Any
    repositories: Sequence[Followed]
    worker: str
    wake: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that `octofleet doctor` looks at: `look` says what it found, or raises `OctofleetError` with what to do."""

    name: str
    look: Callable[[], str]


class Hooks:
    """Everything a plugin may implement."""

    @hookspec
    def octofleet_drivers(self, settings: Settings, data_dir: Path) -> Iterable[Driver]:
        """Drivers to add, made for these settings; none if the settings do not ask for them."""
        raise NotImplementedError

    @hookspec
    def octofleet_serves(self, serves: Serves) -> Iterable[Part]:
        """Parts to add to a process that serves; none if the settings do not ask for them. Raises `OctofleetError` if the settings are wrong."""
        raise NotImplementedError

    @hookspec
    def octofleet_checks(self, installation: Any) -> Iterable[Check]:
        """What `octofleet doctor` should look at beside its own; `installation` is the `reconciler.wiring.Installation`."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def octofleet_opens_pull(self, installation: Any, followed: Followed, branch: str, onto: str, title: str, body: str) -> str | None:
        """Open a pull request from a branch of a followed repository onto another, and give its URL; None for one whose forge the plugin does not know. One
        that is open already is given again. Raises `OctofleetError`."""
        raise NotImplementedError


class _BuiltIn:
    """The drivers that come with Octofleet but may be left out."""

    @hookimpl
    def octofleet_drivers(self, settings: Settings, data_dir: Path) -> Iterator[Driver]:
        """Ansible; the simulated world if the settings enable it."""
        from reconciler.drivers.ansible.driver import AnsibleDriver  # noqa: PLC0415 - only for commands that drive
        from reconciler.drivers.ansible.galaxy import galaxy_of  # noqa: PLC0415
        from reconciler.drivers.ansible.settings import ansible_providers, ansible_settings  # noqa: PLC0415

        galaxy = galaxy_of(data_dir, settings.ansible.galaxy)
        yield AnsibleDriver(ansible_settings(settings.ansible), ansible_providers(settings.ansible), galaxy)
        if settings.memory.enabled:
            from reconciler.drivers.memory import MemoryDriver, World  # noqa: PLC0415

            world = World(settings.memory.path or str(data_dir / "memory.db"))
            yield MemoryDriver(world=world, operation_s=settings.memory.operation_s, settle_s=settings.memory.settle_s)


def plugin_manager(*, ours: bool = False) -> pluggy.PluginManager:
    """All plugins of this Python environment; `ours`: also what comes with Octofleet for servers alone. Raises `OctofleetError` for one made for another
    version."""
    plugins = pluggy.PluginManager(GROUP)
    plugins.add_hookspecs(Hooks)
    plugins.register(_BuiltIn(), "built-in")
    if ours or may_be_installed():
        plugins.load_setuptools_entrypoints(GROUP)
    for name, plugin in plugins.list_name_plugin():
        version = getattr(plugin, "octofleet_plugin_api", API_VERSION)
        if isinstance(plugin, ModuleType) and version != API_VERSION:
            raise OctofleetError(
                f"the plugin {name} is made for plugin API {version}, this is {API_VERSION}",
                hint="install a version of it that fits, or remove it",
            )
    return plugins


def may_be_installed() -> bool:
    """Whether any other package may bring a plugin. No is certain, and found without importlib.metadata, which takes longer than all the rest here.

    Entry points of a group stand below `[GROUP]` in `entry_points.txt` of a package's metadata directory. What is not a plain directory
    (an archive) and what a finder of another kind may know counts as a yes.
    """
    others = [finder for finder in sys.meta_path if finder is not PathFinder and hasattr(finder, "find_distributions")]
    return bool(others) or any(_may_bring(entry or os.curdir) for entry in sys.path)


def _may_bring(entry: str) -> bool:
    root = Path(entry)
    if not root.is_dir():
        return root.exists()
    try:
        with os.scandir(root) as items:
            names = [(item.path, item.name.lower()) for item in items]
        found = [Path(path, "entry_points.txt") for path, name in names if name.endswith(METADATA) and not name.startswith(f"{GROUP}-")]
        return any(f"[{GROUP}]".encode() in path.read_bytes() for path in found if path.is_file())
    except OSError:
        return True


def load_drivers(settings: Settings, data_dir: Path) -> list[Driver]:
    """Every driver of every plugin. Raises `OctofleetError` when two have one name."""
    drivers: dict[str, Driver] = {}
    for made in plugin_manager().hook.octofleet_drivers(settings=settings, data_dir=data_dir):
        for driver in made:
            if driver.info.name in drivers:
                raise OctofleetError(f"two plugins bring a driver called {driver.info.name}", hint="remove one of them")
            drivers[driver.info.name] = driver
    return list(drivers.values())


def load_parts(serves: Serves) -> list[Part]:
    """What plugins add to a process that serves; our own for forges is one of them."""
    return [part for parts in plugin_manager(ours=True).hook.octofleet_serves(serves=serves) for part in parts]


def load_checks(installation: Any) -> list[Check]:
    """What plugins have `octofleet doctor` look at."""
    return [check for checks in plugin_manager(ours=True).hook.octofleet_checks(installation=installation) for check in checks]


def pull_opener(installation: Any) -> Callable[[Followed, str, str, str, str], str]:
    """What opens a pull request of a followed repository, from a branch, onto a branch, with a title and a text; gives its URL, or nothing without a forge."""
    plugins = plugin_manager(ours=True)

    def opened(followed: Followed, branch: str, onto: str, title: str, body: str) -> str:
        said = {"installation": installation, "followed": followed, "branch": branch, "onto": onto, "title": title, "body": body}
        return plugins.hook.octofleet_opens_pull(**said) or "" if followed.forge else ""

    return opened
