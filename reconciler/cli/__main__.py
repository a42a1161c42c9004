"""`python -m reconciler.cli` is the command."""

from reconciler.cli.main import main

main()
