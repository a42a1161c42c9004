"""Prints the development requirements of pyproject.toml, one a line: pip older than 25.1 does not know dependency groups."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
print("\n".join(requirement.replace(" ", "") for requirement in project["dependency-groups"]["dev"]))
