"""The reference pages of the manifests' fields, made from the schemas: `python -m schemas.reference docs/reference`.

In: the schemas and the example repository. Out: Markdown by file name, the same bytes for the same input. It must not say anything that
the schemas do not: to mend a page, mend the description in the schema.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import schemas
from schemas.bundle import COMMON, LOCAL, referred

Schema = Mapping[str, Any]

INDEX, SETTINGS = "index.md", "machine-settings.md"
EXAMPLES: Mapping[str, tuple[tuple[str, int], ...]] = {
    "Fleet": (("fleet.yaml", 0),),
    "Tenant": (("tenants/shop.yaml", 0),),
    "Network": (("networks/shop.yaml", 0), ("networks/shop.yaml", 1)),
    "Profile": (("profiles/metal.yaml", 0), ("profiles/shop.yaml", 0)),
    "Role": (("roles/shop.yaml", 0),),
    "Host": (("hosts/shop/db-01.yaml", 0),),
    "HostSet": (("hosts/shop/workers.yaml", 0), ("hosts/lab/runners.yaml", 0)),
    "MaintenanceWindow": (("windows/shop.yaml", 0), ("windows/shop.yaml", 1)),
    "Policy": (("policies/access.yaml", 0), ("policies/pace.yaml", 0)),
    "AlertChannel": (("alerts/channels.yaml", 0), ("alerts/channels.yaml", 1)),
    "Operation": (("operations/shop.yaml", 0), ("operations/shop.yaml", 1)),
    "RoleMapping": (("access/fleet.yaml", 0), ("access/shop.yaml", 0)),
}
"""The documents of the example repository that a page shows: file, and number of the document in it."""

BLOCKS = frozenset({"machineSettings", "hostSpec"})
MERGES = {"union": "joined", "name": "by name"}
PLAIN = {"array": "list", "object": "map", "boolean": "true or false", "integer": "integer", "number": "number", "string": "text"}
MADE = "<!-- Made by `python -m schemas.reference docs/reference` from the schemas: do not edit. -->\n"

LAYERS = """\
Machine settings come from several layers. Each goes over the ones before it:

1. the Fleet's `defaults`,
2. the Tenant's `defaults`,
3. the chain of Profiles, the farthest `extends` first,
4. the Roles, in the order that the host lists them,
5. the Host.

Maps merge key by key. Everything else replaces what was there, except lists whose merge rule says otherwise: *joined* lists keep what is
there and add what is new; in lists merged *by name*, items with the same `name` become one."""

SECRETS = """\
## Secrets

A secret never stands in Git in the clear. Where the type says *secret*, and for any value inside `vars`, write one of

```yaml
hashed_passwd:
  secretRef: # a key in a store that the server's settings grant to the tenant
    store: shop-secrets
    key: root_hash
```

```yaml
hashed_passwd: !vault |
  $ANSIBLE_VAULT;1.1;AES256
  6261736536340a
```
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field of a table."""

    path: str
    node: Schema
    required: bool


def pages(example_repo: Path) -> dict[str, str]:
    """Every page by its file name."""
    found = {INDEX: _index(), SETTINGS: _settings_page()}
    for kind in schemas.KINDS:
        found[f"{kind.lower()}.md"] = _kind_page(kind, example_repo)
    return found


def _whole(node: Schema) -> dict[str, Any]:
    """A schema with what it refers to; its own words count more than the shared ones'."""
    return {**_whole(referred(node, schemas.common()["$defs"])), **node} if "$ref" in node else dict(node)


def _target(node: Schema) -> str:
    return str(node.get("$ref", "")).removeprefix(COMMON).removeprefix(LOCAL)


def _properties(node: Schema, stop: str = "") -> tuple[dict[str, Any], set[str]]:
    """The fields of a composed object and which of them are required, without those of the shared block `stop`."""
    fields, required = dict(node.get("properties", {})), set(node.get("required", ()))
    if "$ref" in node and _target(node) != stop:
        more, needed = _properties(referred(node, schemas.common()["$defs"]), stop)
        fields, required = {**more, **fields}, required | needed
    return fields, required


def rows(node: Schema, path: str, stop: str = "machineSettings") -> Iterator[Row]:
    """Every field below a schema, depth first, by its path (`spec.users[].name`); the shared block `stop` is not entered."""
    fields, required = _properties(node, stop)
    for name, child in fields.items():
        here = f"{path}.{name}" if path else name
        yield Row(path=here, node=child, required=name in required)
        whole = _whole(child)
        items = whole.get("items", {})
        if "secretRef" in whole.get("properties", {}):
            continue
        yield from rows(child, here, stop)
        if _whole(items).get("type") == "object" and "secretRef" not in _whole(items).get("properties", {}):
            yield from rows(items, f"{here}[]", stop)


def _type(node: Schema) -> str:
    whole = _whole(node)
    if _target(node) in BLOCKS:
        return f"[machine settings]({SETTINGS})"
    if "const" in whole or "enum" in whole:
        return " or ".join(f"`{value}`" for value in whole.get("enum", [whole.get("const")]))
    if "secretRef" in whole.get("properties", {}):
        if whole.get("type") == "object":
            return "[secret](machine-settings.md#secrets)"
        return f"{'text' if 'type' in whole else 'any value'} or [secret](machine-settings.md#secrets)"
    if "anyOf" in whole:
        return " or ".join(_type(one) for one in whole["anyOf"])
    kind = whole.get("type")
    if kind == "array":
        return f"list of {_plural(whole['items'])}"
    if kind == "integer" and "maximum" in whole:
        return f"integer, {whole['minimum']} to {whole['maximum']}"
    return _form(node) or PLAIN[str(kind)]


def _plural(node: Schema) -> str:
    return "maps" if _whole(node).get("type") == "object" else _form(node) or "text"


def _form(node: Schema) -> str:
    """A link to the shared form of text that a field has, if it has one."""
    name = _target(node)
    whole = _whole(node)
    if name in dict(_forms()):
        title = dict(_forms())[name]["title"]
        return f"[{title}]({INDEX}#{_anchor(title)})"
    return "text" if whole.get("type") == "string" else ""


def _forms() -> Iterator[tuple[str, Schema]]:
    for name, definition in schemas.common()["$defs"].items():
        if definition.get("type") == "string" and name != "vaultText":
            yield name, definition


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _code(value: Any, width: int = 64) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\n", " ")
    return f"`{text if len(text) <= width else text[: width - 1] + '…'}`"


def _example(node: Schema) -> str:
    whole = _whole(node)
    if whole.get("properties") and "secretRef" not in whole["properties"]:
        return ""
    if _whole(whole.get("items", {})).get("properties") or "const" in whole:
        return ""
    return _code(whole["examples"][0]) if whole.get("examples") else ""


def _table(fields: Iterable[Row]) -> str:
    """A Markdown table; a column that would be empty is left out."""
    heads = ("Field", "Type", "Required", "Default", "Merge", "Description", "Example")
    cells = [
        (
            f"`{row.path}`",
            _type(row.node),
            "yes" if row.required else "",
            _code(_whole(row.node)["default"]) if "default" in _whole(row.node) else "",
            MERGES.get(_whole(row.node).get("x-merge", ""), ""),
            _whole(row.node).get("description", ""),
            _example(row.node),
        )
        for row in fields
    ]
    kept = [column for column in range(len(heads)) if any(cell[column] for cell in cells)]
    lines = [[heads[column] for column in kept], ["---"] * len(kept)]
    lines += [[cell[column].replace("|", "\\|") for column in kept] for cell in cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _kind_page(kind: str, example_repo: Path) -> str:
    document = schemas.schema(kind)
    spec = document["properties"]["spec"]
    parts = [f"# {kind}\n", MADE, f"{document['description']}\n"]
    parts.append("## Fields\n")
    parts.append(_table(rows(document, "")))
    if _target(spec) in BLOCKS:
        parts.append(f"`spec` also takes every field of the [machine settings]({SETTINGS}), written without a prefix: `spec.packages`.\n")
    parts.append("## Example\n")
    for path, number in EXAMPLES[kind]:
        text = example_repo.joinpath(path).read_text(encoding="utf-8").split("\n---\n")[number].strip()
        parts.append(f"From `example-repo/{path}`:\n\n```yaml\n{text}\n```\n")
    return "\n".join(parts)


def _settings_page() -> str:
    block = schemas.common()["$defs"]["machineSettings"]
    table = _table(rows(block, "", stop=""))
    parts = ["# Machine settings\n", MADE, f"{_whole(block)['description']}\n", f"{LAYERS}\n"]
    parts += ["`disk.device` and `disk.match` are one choice: a nearer layer's replaces both.\n", "## Fields\n", table, SECRETS]
    return "\n".join(parts)


def _index() -> str:
    kinds = "".join(f"| [{kind}]({kind.lower()}.md) | {schemas.schema(kind)['description']} |\n" for kind in schemas.KINDS)
    planned = "".join(f"| {kind} | {what} |\n" for kind, what in schemas.PLANNED.items())
    forms = "".join(
        f"### {form['title']}\n\n{_sentence(form)} For example {' or '.join(_code(example) for example in form['examples'])}.\n\n"
        for _, form in _forms()
    )
    return (
        f"# Manifests\n\n{MADE}\n"
        "A manifest is one YAML document with `apiVersion: octofleet/v1`, `kind`, `metadata` and `spec`. Many may stand in one file;\n"
        "file names mean nothing. A field that is not listed here is an error.\n\n"
        f"| Kind | What it says |\n| --- | --- |\n{kinds}\n"
        f"Profile, Role and Host share one block of fields, the [machine settings]({SETTINGS}); so do the defaults of Fleet and Tenant.\n\n"
        f"## Kinds to come\n\nThese are refused until something acts on them.\n\n| Kind | What it will say |\n| --- | --- |\n{planned}\n"
        f"## Forms of text\n\n{forms}"
    ).rstrip() + "\n"


def _sentence(form: Schema) -> str:
    message = str(form.get("patternErrorMessage", "must be text"))
    return f"It {message}."


def main(arguments: list[str] | None = None) -> None:
    """Write the pages into the directory named on the command line, over older ones; files of other names are left alone."""
    parser = argparse.ArgumentParser(prog="python -m schemas.reference", description="Write the reference pages of the manifests' fields.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--examples", type=Path, default=Path(__file__).parent.parent / "example-repo")
    options = parser.parse_args(arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages(options.examples).items():
        options.directory.joinpath(name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
