# Copyright the Octofleet authors
# SPDX-License-Identifier: Apache-2.0
"""Hosts of Octofleet for any playbook. Ansible imports this file; nothing of Octofleet does, and it imports nothing of Octofleet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: octofleet
short_description: Hosts, groups and variables as Octofleet knows them
description:
  - Reads the hosts of a commit from a server of Octofleet (O(server)), or from its command on this machine (O(repo)).
  - Groups are C(tenant_T), C(profile_P), C(role_R), C(label_KEY_VALUE), C(network_N) and C(os_...). Variables are those that Octofleet's own runs have, with
    facts of the manifests in C(octofleet).
  - A secret is not in the inventory. In its place is a template that fails when it is used, and says why.
  - The name of the configuration file ends with C(octofleet.yml) or C(octofleet.yaml).
author:
  - Octofleet
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: The name of this plugin.
    required: true
    choices: ["octofleet.fleet.octofleet"]
  server:
    description: The URL of a server. It is asked with a token, over HTTPS, or on this machine alone over HTTP.
    type: str
  token_env:
    description: The environment variable that holds the token.
    type: str
    default: OCTOFLEET_TOKEN
  token_file:
    description: A file that holds the token, for when that variable is empty.
    type: path
    env:
      - name: OCTOFLEET_TOKEN_FILE
  ca_file:
    description: The authorities to trust, in PEM, in place of the system's.
    type: path
    env:
      - name: OCTOFLEET_CA_FILE
  source:
    description: With O(server), the hosts of this Fleet alone.
    type: str
  repo:
    description: Without O(server), the path or URL of the repository. A path is relative to the directory of the configuration file, which is the default.
    type: str
  rev:
    description: Branch, tag or commit. By default the default branch, and with O(server) the commit applied last.
    type: str
  data_dir:
    description: The directory of the installation.
    type: path
  command:
    description: The program that is Octofleet, with its first arguments.
    type: list
    elements: str
    default: [octofleet]
  scope:
    description: Only these hosts, such as C(host/shop/web-*) or C(tenant/shop).
    type: str
  timeout:
    description: How many seconds to wait for the command or the server.
    type: int
    default: 300
"""

EXAMPLES = r"""
# fleet.octofleet.yml: from a server; the token is in the environment variable OCTOFLEET_TOKEN
plugin: octofleet.fleet.octofleet
server: https://octofleet.example.com
scope: tenant/shop

# fleet.octofleet.yml: from the repository that this file is in, with more groups and variables
plugin: octofleet.fleet.octofleet
rev: main
keyed_groups:
  - key: octofleet.timezone
    prefix: timezone
groups:
  canaries: inventory_hostname.endswith('-01')
compose:
  ansible_port: ssh_port | default(22)
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/octofleet-inventory
cache_timeout: 300
"""

import json
import os
import subprocess
import urllib.error
from urllib.parse import urlencode, urlsplit

from ansible.errors import AnsibleParserError
from ansible.module_utils.urls import open_url
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19, where everything is a template but what is marked
    from ansible.utils.unsafe_proxy import wrap_var as never_a_template

    def trust_as_template(text):
        return text
else:

    def never_a_template(text):
        return text


UNSAFE = "__ansible_unsafe"
OF_THE_SERVER = ("source",)
OF_THE_COMMAND = ("repo", "data_dir")
LOCAL = ("localhost", "127.0.0.1", "::1")
TOLD_AT_ONCE = 5


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """See DOCUMENTATION."""

    NAME = "octofleet.fleet.octofleet"

    def verify_file(self, path):
        """Whether this is a configuration of ours, by its name."""
        return super().verify_file(path) and path.endswith(("octofleet.yml", "octofleet.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        """Fill the inventory. Raises `AnsibleParserError`, which says what to do."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        document = _read(self._text(path, cache), path)
        self._tell_unknown(document)
        self._fill(document)
        self._construct(document)

    def _text(self, path, cache):
        """The document as text, from the cache if it was asked for in the same words."""
        ask = self._server if self._asked("server") else self._command
        wanted = json.dumps(
            {name: self.get_option(name) for name in (*OF_THE_SERVER, *OF_THE_COMMAND, "server", "rev", "scope", "command")}
        )
        key, caching = self.get_cache_key(path), self.get_option("cache")
        if caching and cache:
            kept = self._cache.get(key)
            if isinstance(kept, dict) and kept.get("wanted") == wanted:
                return kept["document"]
        text = ask(path)
        if caching:
            self._cache[key] = {"wanted": wanted, "document": text}
        return text

    def _asked(self, name):
        return str(self.get_option(name) or "")

    def _check_apart(self, path, other, names):
        for name in names:
            if self._asked(name):
                raise AnsibleParserError(f"{path}: {name} is of no use {other}: take one of them out")

    def _command(self, path):
        self._check_apart(path, "without server", OF_THE_SERVER)
        options = {
            "--repo": self._asked("repo"),
            "--rev": self._asked("rev"),
            "--data-dir": self._asked("data_dir"),
            "--scope": self._asked("scope"),
        }
        command = [
            *map(str, self.get_option("command")),
            "inventory",
            "--json",
            *(f"{name}={said}" for name, said in options.items() if said),
        ]
        here = {name: value for name, value in os.environ.items() if name != "OCTOFLEET_SERVER"}
        try:
            ended = subprocess.run(  # noqa: S603 - the program that the configuration names
                command,
                cwd=os.path.dirname(os.path.abspath(path)),
                env=here,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=self.get_option("timeout"),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AnsibleParserError(
                f"{path}: {command[0]} inventory took longer than {self.get_option('timeout')} s: raise timeout"
            ) from None
        except OSError as error:
            text = f"{path}: cannot run {command[0]}: {error.strerror}: install Octofleet, or say in command where it is"
            raise AnsibleParserError(text) from None
        if ended.returncode != 0:
            said = _refusal(ended.stdout) or ended.stderr.decode(errors="replace").strip()[-2000:] or f"exit code {ended.returncode}"
            raise AnsibleParserError(f"{path}: {command[0]} inventory failed: {said}")
        return ended.stdout.decode()

    def _server(self, path):
        self._check_apart(path, "with server", OF_THE_COMMAND)
        url = self._asked("server").rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise AnsibleParserError(f"{path}: server is no URL such as https://octofleet.example.com, without credentials")
        if parts.scheme == "http" and parts.hostname not in LOCAL:
            raise AnsibleParserError(f"{path}: {parts.hostname} is not asked without encryption, others could read the token: say https")
        asked = urlencode({name: self._asked(name) for name in ("source", "rev", "scope") if self._asked(name)})
        try:
            with open_url(
                f"{url}/api/v1/inventory" + (f"?{asked}" if asked else ""),
                headers={"Authorization": f"Bearer {self._token(path)}", "Accept": "application/json"},
                ca_path=self.get_option("ca_file"),
                timeout=self.get_option("timeout"),
                follow_redirects="none",
                use_proxy=parts.scheme == "https",
                http_agent="octofleet.fleet",
            ) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            said = _refusal(error.read()) or "not as a server of Octofleet does: check the URL"
            raise AnsibleParserError(f"{path}: {url} answers {error.code}: {said}") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise AnsibleParserError(f"{path}: {url} does not answer: {why}: check server, ca_file and the network between") from None

    def _token(self, path):
        name, file = self.get_option("token_env"), self.get_option("token_file")
        try:
            with open(file or os.devnull, encoding="ascii") as opened:
                token = os.environ.get(name, "").strip() or opened.read().strip()
        except (OSError, ValueError) as error:
            raise AnsibleParserError(
                f"{path}: cannot read token_file {file}: {getattr(error, 'strerror', None) or 'it holds no token'}"
            ) from None
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise AnsibleParserError(
                f"{path}: there is no token: set {name} or token_file; octofleet token create makes one, at the server"
            )
        return token

    def _tell_unknown(self, document):
        unknown = document["_meta"].get("octofleet", {}).get("unknown", {})
        for name, why in list(unknown.items())[:TOLD_AT_ONCE]:
            self.display.warning(f"{name} is left out: {why}")
        if len(unknown) > TOLD_AT_ONCE:
            self.display.warning(f"{len(unknown)} hosts are left out, of which Octofleet does not know what is wanted")

    def _fill(self, document):
        values = _Values()
        inventory = self.inventory
        for name, variables in document["_meta"]["hostvars"].items():
            known = name in inventory.hosts
            inventory.add_host(name)
            if not known:
                inventory.hosts[name].vars.update(values.of(variables))
                continue
            for key, value in values.of(variables).items():
                inventory.set_variable(name, key, value)
        for group, said in document.items():
            if group in ("_meta", "all"):
                continue
            made = inventory.groups[inventory.add_group(group)]
            for name in said["hosts"]:
                made.add_host(inventory.hosts[name])

    def _construct(self, document):
        compose, groups, keyed, strict = (self.get_option(name) for name in ("compose", "groups", "keyed_groups", "strict"))
        if not (compose or groups or keyed):
            return
        for name in document["_meta"]["hostvars"]:
            host = self.inventory.hosts[name]
            self._set_composite_vars(compose, host.get_vars(), name, strict=strict)
            variables = host.get_vars()
            self._add_host_to_composed_groups(groups, variables, name, strict=strict, fetch_hostvars=False)
            self._add_host_to_keyed_groups(keyed, variables, name, strict=strict, fetch_hostvars=False)


class _Values:
    """Values as Ansible takes them: texts may be templates, but for those that are marked. Each text is made once."""

    def __init__(self):
        self._texts = {}

    def of(self, value):
        kind = type(value)
        if kind is str:
            made = self._texts.get(value)
            if made is None:
                made = self._texts[value] = trust_as_template(value)
            return made
        if kind is dict:
            if len(value) == 1 and type(value.get(UNSAFE)) is str:
                return never_a_template(value[UNSAFE])
            return {key: self.of(item) for key, item in value.items()}
        if kind is list:
            return [self.of(item) for item in value]
        return value


def _read(text, path):
    try:
        document = json.loads(text)
        if isinstance(document["_meta"]["hostvars"], dict):
            return document
    except (ValueError, TypeError, KeyError):
        pass
    raise AnsibleParserError(
        f"{path}: what came back is no inventory of Octofleet: check server or command, and that its version is this collection's"
    )


def _refusal(said):
    """What Octofleet says about an error, as the command or the API does."""
    try:
        found = json.loads(said)
        error = found.get("error", found)
        lines = [error.get("message") or error["detail"], *(one["message"] for one in found.get("problems", ())[:TOLD_AT_ONCE])]
        return "; ".join([*lines, *filter(None, [error.get("hint")])])
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
