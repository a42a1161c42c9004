#!/bin/sh
# Patroni runs this once, on the first node, when the cluster is made; $1 is how to connect as its superuser.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$1" <<'SQL'
\getenv password OCTOFLEET_DATABASE_PASSWORD
CREATE ROLE octofleet LOGIN PASSWORD :'password';
CREATE DATABASE octofleet OWNER octofleet;
SQL
