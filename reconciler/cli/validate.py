"""`octofleet validate`."""

import json
from collections.abc import Iterator
from typing import Literal

import click

from reconciler.cli.options import common, problems_code, progress, repository_options
from reconciler.desired.desired import Desired
from reconciler.desired.explain import settings
from reconciler.granting import lockout
from reconciler.identity.local import me
from reconciler.permitting import access_in_force
from reconciler.planning import compiled
from reconciler.rendering import rendered
from reconciler.report.as_json import problem_document
from reconciler.report.text import printable
from reconciler.report.view import counted
from reconciler.source.repository import Commit, Repository
from reconciler.types.problem import Problem
from reconciler.wiring import Installation
from renderers.contract import RenderError
from renderers.fleet_menu import POINTER, Site, fleet_menu
from renderers.menu import Firmware


@click.command()
@repository_options
@common
def validate(installation: Installation, as_json: bool, repo: str, rev: str | None) -> int:
    """Check every manifest, reference, template and boot file of a commit; every problem as path:line:column: message."""
    repository = installation.repository(repo)
    commit = repository.commit(rev)
    desired = compiled(installation, repository, commit)
    with progress(quiet=as_json) as bar:
        found = {*desired.problems, *_rendering(installation, repository, commit, desired, bar.told), *_menus(desired)}
    with installation.store.read() as connection:
        found.update(lockout(access_in_force(connection), desired, me()))
    problems = tuple(sorted(found))
    code = problems_code(problems)
    if as_json:
        numbers = {"hosts": len(desired.hosts), "manifests": desired.count()}
        document = {"valid": code == 0, "commit": commit.id, "summary": numbers, "problems": [problem_document(p) for p in problems]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return code
    for problem in problems:
        click.echo(printable(str(problem)))
    if code == 0:
        click.echo(f"{commit.id[:10]} is valid: {counted(desired.count(), 'manifest')}, {counted(len(desired.hosts), 'host')}")
    else:
        click.echo(counted(len(problems), "problem"), err=True)
    return code


def _rendering(installation: Installation, repository: Repository, commit: Commit, desired: Desired, told: object) -> Iterator[Problem]:
    """Render every file of every host; the place of a mistake is where its value was set."""
    for number, group in enumerate(desired.hosts, 1):
        host = desired.host(group)
        if host is None:
            continue
        if callable(told):
            told("render", number, len(desired.hosts))
        for _, kind, data in rendered(installation, repository, commit, host):
            if isinstance(data, RenderError):
                yield _problem(desired, group, kind, data)
        if default := (host.values.get("boot") or {}).get("default"):
            try:
                secure = bool((host.values.get("hardware") or {}).get("secureBoot"))
                _menu(desired, default, "grub" if secure else "ipxe", host.values.get("firmware", "bios"))
            except RenderError as error:
                yield _problem(desired, group, "boot menu", RenderError("/boot/default", error.message))


def _menus(desired: Desired) -> Iterator[Problem]:
    """The Fleet's own boot menu, as every loader gets it."""
    if desired.fleet is None or "menu" not in desired.fleet.spec.get("boot", {}):
        return
    ways: tuple[tuple[Literal["ipxe", "grub"], Firmware], ...] = (("ipxe", "bios"), ("ipxe", "uefi"), ("grub", "uefi"))
    for loader, firmware in ways:
        try:
            _menu(desired, "", loader, firmware)
        except RenderError as error:
            origin = desired.origin(desired.fleet, error.pointer or POINTER)
            yield Problem(origin=origin, code="render", message=f"the boot menu cannot be rendered for {loader}: {error.message}")


def _menu(desired: Desired, default: str, loader: Literal["ipxe", "grub"], firmware: Firmware) -> bytes:
    """Raises RenderError."""
    menu = desired.fleet.spec.get("boot", {}).get("menu") if desired.fleet else None
    if menu is None:
        raise RenderError("", "the Fleet has no boot menu (spec.boot.menu)")
    return fleet_menu(menu, default, loader, firmware, Site(loaders="http://boot.example.net", discover="http://boot.example.net"))


def _problem(desired: Desired, group: str, kind: str, error: RenderError) -> Problem:
    pointer, origin = error.pointer, desired.hosts[group].origin
    while pointer:
        said = settings(desired, group, pointer)
        if said:
            origin = said[-1].origin
            break
        pointer = pointer.rpartition("/")[0]
    return Problem(
        origin=origin,
        code="render",
        message=f"{group}: the {kind} cannot be rendered: {error.message}",
        hint=f"at {error.pointer}" if error.pointer else "",
    )
