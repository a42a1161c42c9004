"""What is wrong with the forges of the settings, and with the repositories that name them, though each value is of its type."""

from collections.abc import Iterator
from pathlib import Path

from reconciler.settings import Forge, Settings
from reconciler.settings_checked import Problem
from reconciler.source.errors import strip_credentials


def wrong_forges(settings: Settings) -> Iterator[Problem]:
    """By place."""
    names = [forge.name for forge in settings.forges]
    for number, forge in enumerate(settings.forges):
        if names.index(forge.name) < number:
            yield ("forges", number, "name"), f"is the name of forges {names.index(forge.name) + 1} too"
        for name, text, means in (("url", forge.url, "its API"), ("public_url", forge.public_url, "this server")):
            if text and not (text.startswith(("https://", "http://")) and strip_credentials(text) == text):
                yield ("forges", number, name), f"must be the URL of {means}, https://..., without a user, a password or a query"
        alike = next((one for one in settings.forges[:number] if _kind(one) == _kind(forge) and one.url != forge.url), None)
        if alike is not None:
            yield (
                ("forges", number),
                f"is another {_kind(forge)} than {alike.name}: people of one name there would be one identity; one server each",
            )
        for text in (*_authenticates(forge), *_is_heard(forge)):
            yield ("forges", number), text
        if not any(followed.forge == forge.name for followed in settings.repositories):
            yield ("forges", number), f'is named by none of [[repositories]]: set forge = "{forge.name}" and project there'
    yield from _wrong_projects(settings, names)


def _kind(forge: Forge) -> str:
    """What the identities of its users begin with."""
    return forge.type.partition("-")[0]


def _authenticates(forge: Forge) -> Iterator[str]:
    app = forge.app_id or forge.app_key_file
    if sum(map(bool, (forge.token_file, forge.token_env, app))) != 1:
        yield "needs one way to authenticate: token_file, token_env, or on GitHub app_id with app_key_file"
    elif app and not (forge.type == "github" and forge.app_id and forge.app_key_file):
        yield "needs both app_id and app_key_file for an App, which only GitHub has"


def _is_heard(forge: Forge) -> Iterator[str]:
    secrets = len(forge.secret_files) + len(forge.secrets_env)
    if secrets > 2:
        yield "has more than two secrets: the one that holds, and the one that replaces it"
    if not (secrets or forge.poll_s):
        yield "has no secret and does not poll: set secret_files or secrets_env for its webhooks, or poll_s"


def _wrong_projects(settings: Settings, names: list[str]) -> Iterator[Problem]:
    said: list[tuple[str, str]] = []
    for number, followed in enumerate(settings.repositories):
        place = ("repositories", number)
        if followed.signed and not followed.signers:
            yield place, "has signed = true, and no signers: name the directory of the keys that count"
        if followed.signers and not Path(followed.signers).is_absolute():
            yield (*place, "signers"), f"is {followed.signers}, and must be an absolute path"
        if followed.forge and "://" not in followed.location and ":" not in followed.location:
            yield (
                (*place, "location"),
                "must be a URL for a repository with a forge, such as https://... or git@HOST:PATH: it is mirrored",
            )
        if followed.forge and followed.forge not in names:
            yield (*place, "forge"), f"is {followed.forge}, and none of [[forges]] has that name"
        if bool(followed.forge) != bool(followed.project):
            yield place, "needs both forge and project for pull requests, or neither"
        elif followed.forge:
            said.append((followed.forge, followed.project.casefold()))
            if said.index(said[-1]) < len(said) - 1:
                yield (*place, "project"), f"is followed already, as {followed.project} of {followed.forge}"
