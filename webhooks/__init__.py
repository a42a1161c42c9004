"""Forges: what GitHub, GitLab, Gitea, Forgejo and Bitbucket send, and what Octofleet says on their pull requests.

A plugin like any other: `plugin.py` brings routes and work to `octofleet serve`. Imports go from here to `reconciler`, never back.
"""
