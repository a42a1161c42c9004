"""What `octofleet doctor` finds of how the server is reached: where it listens, its certificate, and whether anybody can sign in."""

import stat
from collections.abc import Iterator
from pathlib import Path

from reconciler.cli.finding import FAILED, OK, WARNING, Finding, tried
from reconciler.loopback import is_loopback
from reconciler.report.view import counted
from reconciler.server.tls import Pair, days_left
from reconciler.settings import Boot, Http, Settings
from reconciler.store.accounts import accounts
from reconciler.store.engine import Store

RENEW_DAYS = 14


def http_findings(settings: Settings) -> Iterator[Finding]:
    """How the settings have HTTP served; nothing is asked of the network."""
    if settings.listen:
        yield listens(settings.listen, settings.http)
    if settings.http.tls_certificate:
        yield tried("TLS certificate", lambda: certificate(settings.http))


def listens(where: str, http: Http) -> Finding:
    """Whether what people send there can be read on its way."""
    if http.tls_certificate:
        return Finding("listen", OK, f"{where}, over HTTPS")
    if is_loopback(where.rpartition(":")[0].strip("[]")):
        return Finding("listen", OK, f"{where}, for this machine alone")
    if http.trusted_proxies:
        return Finding("listen", OK, f"{where}, behind {', '.join(http.trusted_proxies)}")
    text = f"{where} is reached from other machines without encryption: nobody signs in from there, tokens can be read on their way"
    hint = "set http.tls_certificate and http.tls_key; or listen on 127.0.0.1, or name your proxy in http.trusted_proxies"
    return Finding("listen", WARNING, text, hint)


def accounts_found(store: Store) -> str | Finding:
    """Whether anybody can sign in."""
    with store.read() as connection:
        able = sum(one.disabled_at is None for one in accounts(connection))
    if able:
        return f"{counted(able, 'account')} may sign in"
    hint = "octofleet serve prints a one-time link for the first one as it starts; octofleet account add NAME makes one"
    return Finding("accounts", WARNING, "nobody has an account, so nobody can sign in", hint)


def certificate(of: Http | Boot, name: str = "TLS certificate") -> str | Finding:
    """A server's own: whether its files are a pair, and how long it is valid."""
    pair = Pair(certificate=Path(of.tls_certificate), key=Path(of.tls_key))
    pair.context()
    left, renew = days_left(pair), "renew it; a server that runs takes the new files by itself"
    if left <= 0:
        return Finding(name, FAILED, f"{pair.certificate} is not valid since {pair.ends():%Y-%m-%d}", renew)
    if pair.key.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        return Finding(name, WARNING, f"{pair.key} can be read by everybody", f"chmod o= {pair.key}")
    text = f"{pair.certificate}, {int(left)} days left"
    return Finding(name, WARNING, text, renew) if left < RENEW_DAYS else text
