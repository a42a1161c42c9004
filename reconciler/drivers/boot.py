"""Rendered boot files, published to a directory that any web or TFTP server may serve.

A resource's specification is what the renderer reads (the host's values), the renderer's version and the template's Git id: no bytes. Bytes are
made for an apply, a diff, or to recognise a file without a record. Files are replaced atomically and withdrawn when their host goes. A
file that would hold a secret is never published: it waits for the boot server, which hands it to the armed host alone.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path
from typing import Any

from reconciler.drivers.driver import Context, DriverInfo, Inputs, Listed, Results, Step, Target, Work
from reconciler.errors import OctofleetError, Permanent
from reconciler.files import remove_file, replace_file
from reconciler.types.canonical import digest, digest_bytes
from reconciler.types.change import Action
from reconciler.types.host import FleetScope, ResolvedHost
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present, Unknown
from reconciler.types.outcome import Outcome, Status
from reconciler.types.resource import Dependency, Resource, Rules, address, parts
from reconciler.types.values import Spec, holds_secret
from renderers.contract import Renderer, RenderError
from renderers.registry import RENDERERS, serving

ORDER = 10
UNSEEN = ("templates", "rollout", "bmc")
"""Values of a host that are of no file."""
Template = Callable[[str, str, Mapping[str, Any]], bytes]
"""Renders a user's template (its source, its name, the values) with limits on time and memory. Raises RenderError."""


@dataclass(frozen=True, kw_only=True)
class BootDriver:
    """Publishes below `directory`; `template` renders users' own templates. `served`: where machines reach the boot server, if
    there is one: it hands out what holds a secret, to the armed host alone; such a file is not published, and its world is the record."""

    directory: Path
    template: Template
    served: str = ""

    @property
    def info(self) -> DriverInfo:
        """One kind for each format. A file that is gone can be rendered again, so nothing here destroys."""
        kinds = tuple(Kind(name=name, order=ORDER, destroys=False, copies=True) for name in RENDERERS)
        return DriverInfo(name="boot", version=1, kinds=kinds, batch=200, concurrency=2)

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource | str]:
        """Each host's files. One depends on what its renderer says that it reads; one by a user's template on everything."""
        for host in scope.hosts:
            rules, templates = _rules(host), host.values.get("templates", {})
            if scope.changed is not None and "templates" in scope.changed:
                scope = replace(scope, changed=None)
            served, group = serving(host.values), host.group
            for name, renderer in RENDERERS.items():
                if name not in served and name not in templates:
                    continue
                if scope.changed is not None and name not in templates and scope.changed.isdisjoint(renderer.uses):
                    yield address("boot", name, host.tenant, host.name)
                else:
                    yield _resource(host, renderer, file_spec(host, renderer, inputs), rules, group)

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """What is published, as specifications: a file of the recorded bytes is as recorded, any other has a `content` of its own."""
        return {target.address: self._seen(target, context) for target in targets}

    def _seen(self, target: Target, context: Context) -> Observation:
        now = time.time()
        if target.desired is not None and holds_secret(target.desired.spec):
            if self.served:
                return self._as_recorded(target, now)
            reason = "the file would hold a secret, and published files are readable by every machine"
            return Unknown(code="secret-in-file", reason=reason, at=now)
        try:
            data = self.path(target.address).read_bytes()
        except FileNotFoundError:
            return Absent(at=now)
        except OSError as error:
            return Unknown(code="unreadable", reason=f"cannot read {self.path(target.address)}: {error.strerror}", at=now)
        found = digest_bytes(data)
        for spec in self._candidates(target, found, context):
            return Present(spec=spec, digest=digest(spec), at=now, external_id=found)
        like = target.recorded_spec or (target.desired.spec if target.desired else {})
        other = {**like, "content": {"sha256": found, "bytes": len(data)}}
        return Present(spec=other, digest=digest(other), at=now, external_id=found)

    def _as_recorded(self, target: Target, now: float) -> Observation:
        if target.recorded_spec is None:
            return Absent(at=now)
        return Present(spec=target.recorded_spec, digest=digest(target.recorded_spec), at=now)

    def _candidates(self, target: Target, found: str, context: Context) -> Iterator[Spec]:
        """The specifications that the file with this digest is known to come from."""
        if target.recorded is not None and target.recorded_spec is not None and target.recorded.external_id == found:
            yield target.recorded_spec
        if target.desired is not None:
            try:
                if digest_bytes(self.render(target.desired, context.content)) == found:
                    yield target.desired.spec
            except RenderError:
                return

    def apply(self, step: Step, context: Context) -> Results:
        """Publish or withdraw each file."""
        return {work.target.address: self._one(work, context) for work in step.work}

    def _one(self, work: Work, context: Context) -> Outcome:
        target, now = work.target, time.time()
        try:
            if work.action is Action.DELETE or target.desired is None:
                remove_file(self.path(target.address), self.directory)
                return Outcome(status=Status.DONE, observation=Absent(at=now))
            if self.served and holds_secret(target.desired.spec):
                for where in (target.address, *([work.moved_from.address] if work.moved_from else [])):
                    remove_file(self.path(where), self.directory)
                return Outcome(status=Status.DONE, observation=Present(spec=target.desired.spec, digest=target.desired.digest, at=now))
            data = self.render(target.desired, context.content)
            replace_file(self.path(target.address), data)
            if work.moved_from is not None:
                remove_file(self.path(work.moved_from.address), self.directory)
        except RenderError as error:
            origin = f"{target.desired.origin}: " if target.desired else ""
            return Outcome(status=Status.FAILED, error=f"{origin}cannot render {target.address}: {error}")
        except Permanent as error:
            return Outcome(status=Status.FAILED, error=str(error))
        seen = Present(spec=target.desired.spec, digest=target.desired.digest, at=now, external_id=digest_bytes(data))
        return Outcome(status=Status.DONE, observation=seen)

    def poll(self, operation: str, context: Context) -> Results:
        """Nothing here takes time."""
        del operation, context
        return {}

    def list(self, context: Context) -> Iterator[Listed]:
        """Every published file, by its path."""
        del context
        names = {renderer.filename: name for name, renderer in RENDERERS.items()}
        for path in sorted(self.directory.rglob("*")):
            tenant, host, *rest = (*path.relative_to(self.directory).parts, "", "")
            filename = "/".join(filter(None, rest))
            if path.is_file() and filename in names:
                found = digest_bytes(path.read_bytes())
                yield Listed(kind=names[filename], tenant=tenant, name=host, spec={"content": {"sha256": found}}, external_id=found)

    def diff(self, target: Target, context: Context) -> str:
        """From the published file to the one that would be published."""
        path = self.path(target.address)
        if target.desired is not None and holds_secret(target.desired.spec):
            return ""
        try:
            before = path.read_text(errors="replace").splitlines(keepends=True)
        except OSError:
            before = []
        try:
            after = (
                []
                if target.desired is None
                else self.render(target.desired, context.content).decode(errors="replace").splitlines(keepends=True)
            )
        except RenderError as error:
            return f"cannot be rendered: {error}\n"
        name = str(path.relative_to(self.directory))
        lines = unified_diff(before, after, f"published/{name}", f"rendered/{name}", n=2)
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def path(self, of: str) -> Path:
        """Where a resource's file is published."""
        _, kind, tenant, name = parts(of)
        return self.directory / tenant / name / RENDERERS[kind].filename

    def render(self, resource: Resource, content: Callable[[str], bytes]) -> bytes:
        """The bytes of a resource. Raises RenderError."""
        return render_spec(parts(resource.address)[1], resource.spec, content, self.template, self.served)


def render_spec(kind: str, spec: Spec, content: Callable[[str], bytes], template: Template, served: str = "") -> bytes:
    """The bytes that a specification stands for; `served`: its `boot.url`, where it says none. Raises RenderError."""
    if served and not (spec["values"].get("boot") or {}).get("url"):
        spec = {**spec, "values": {**spec["values"], "boot": {**spec["values"].get("boot", {}), "url": served}}}
    if "template" not in spec:
        return RENDERERS[kind].render(spec["values"])
    path, blob = spec["template"]["path"], spec["template"]["content"]
    if blob is None:
        raise RenderError(f"/templates/{kind}", f"there is no file {path} in the repository")
    try:
        source = content(blob).decode()
    except UnicodeDecodeError as error:
        raise RenderError(f"/templates/{kind}", f"the template {path} is not UTF-8: save it as UTF-8") from error
    except OctofleetError as error:
        raise RenderError(f"/templates/{kind}", f"{path} is not a file that can be read: {error.message}") from error
    return template(source, path, spec["values"])


def file_spec(host: ResolvedHost, renderer: Renderer, inputs: Inputs) -> dict[str, Any]:
    """What one file is made from. A user's template may read every value but `UNSEEN`, ours say what they read."""
    path = host.values.get("templates", {}).get(renderer.format)
    if path is not None:
        values = {name: value for name, value in host.values.items() if name not in UNSEEN}
        return {"values": _without_menu(values), "template": {"path": path, "content": inputs.content(path)}}
    values = {name: host.values[name] for name in renderer.uses if name in host.values}
    return {"values": _without_menu(values), "renderer": {"name": renderer.format, "version": renderer.version}}


def _without_menu(values: dict[str, Any]) -> dict[str, Any]:
    """Values without `boot.default`: which entry of a menu starts by itself is of no file."""
    if "default" not in (values.get("boot") or {}):
        return values
    boot = {name: value for name, value in values["boot"].items() if name != "default"}
    return {name: boot if name == "boot" else value for name, value in values.items() if name != "boot" or boot}


def _rules(host: ResolvedHost) -> Rules:
    """The same for all files of a host."""
    return Rules(
        tenant=host.tenant,
        order=ORDER,
        protect=host.protect,
        on_delete=host.on_delete,
        depends_on=(Dependency(address=address("fleet", "host", host.tenant, host.name)),),
    )


def _resource(host: ResolvedHost, renderer: Renderer, spec: Spec, rules: Rules, group: str) -> Resource:
    return Resource(
        address=address("boot", renderer.format, host.tenant, host.name),
        spec=spec,
        rules=rules,
        group=group,
        origin=host.origin,
        moved_from=address("boot", renderer.format, *host.moved_from) if host.moved_from else None,
    )
