"""A host's boot files without publishing them: for `octofleet render` and `octofleet validate`."""

from collections.abc import Iterator

from reconciler.drivers.boot import file_spec, render_spec
from reconciler.source.repository import Commit, Repository
from reconciler.tracking import CommitTree
from reconciler.types.host import ResolvedHost
from reconciler.types.values import Spec, holds_secret
from reconciler.wiring import Installation
from renderers.contract import RenderError
from renderers.registry import RENDERERS, serving


def render_host(
    installation: Installation, repository: Repository, commit: Commit, host: ResolvedHost
) -> Iterator[tuple[str, bytes | str]]:
    """File name with its bytes, or with the reason why it cannot be rendered. A file that would hold a secret is left out."""
    for name, _, data in rendered(installation, repository, commit, host):
        yield name, data if isinstance(data, bytes) else str(data)


def rendered(
    installation: Installation, repository: Repository, commit: Commit, host: ResolvedHost
) -> Iterator[tuple[str, str, bytes | RenderError]]:
    """File name, format, and bytes or error of every file of a host that holds no secret."""
    for kind, spec in file_specs(repository, commit, host):
        try:
            yield (
                RENDERERS[kind].filename,
                kind,
                render_spec(kind, spec, repository.blob, installation.sandbox.render, installation.boot_url),
            )
        except RenderError as error:
            yield RENDERERS[kind].filename, kind, error


def file_specs(repository: Repository, commit: Commit, host: ResolvedHost) -> Iterator[tuple[str, Spec]]:
    """Format and specification of every file of a host that holds no secret."""
    inputs = CommitTree.of(repository, commit.tree)
    for kind, renderer in RENDERERS.items():
        if kind not in host.values.get("templates", {}) and kind not in serving(host.values):
            continue
        spec = file_spec(host, renderer, inputs)
        if not holds_secret(spec):
            yield kind, spec
