"""What to do next, for who asks over HTTP: hints name commands of the installation's machine, and here the page whose button does the same."""

import re

_ID = r"(?P<id>[0-9a-f]{12,64}|[0-9]{8}-[0-9]{6}-[0-9a-f]{6})"
_WHY = "(?: --reason WHY)?"
_HOST = r"host/(?P<tenant>[\w.-]+)/(?P<name>[\w.-]+)"
STEPS = (
    (rf"approve {_ID}{_WHY}", "Approve at /plans/{id}"),
    (rf"apply {_ID}(?: --approve)?", "Apply at /plans/{id}"),
    (rf"promote {_ID}{_WHY}(?P<now> --now)?", "Promote at /runs/{id}"),
    (rf"cancel {_ID}{_WHY}", "Cancel the run at /runs/{id}"),
    (rf"resume {_ID}", "Resume at /runs/{id}"),
    (r"resume [0-9a-f]{8}\b", "Go on at /gates"),
    (rf"logs {_ID}", "/runs/{id}"),
    (rf"installs {_HOST} --again --reason WHY", "Begin anew at /hosts/{tenant}/{name}"),
    (rf"installs {_HOST} --sure --reason WHY", "Be sure at /hosts/{tenant}/{name}"),
    (rf"adopt {_HOST} --reason WHY", "Adopt the machine at /hosts/{tenant}/{name}"),
    (rf"installs {_HOST}", "/hosts/{tenant}/{name}"),
    (r"installs(?= shows)", "/installs"),
    (r"override (?P<id>\S+) --for 1h --reason WHY", "Override {id} at /gates"),
    (r"token create --allow \S+", "Make token at /account"),
    (r"explain \S+(?= lists)", "/explain"),
    (r"status --why", "/status"),
    (r"apply(?= does it| first|$)", "Apply at its page"),
    (r"plan\b(?! --)", "Plan at /plans"),
    (r"validate(?= names)", "/validate"),
    (r"gates(?= lists)", "/gates"),
    (r"runs(?= lists)", "/runs"),
)
"""Commands with what follows them, and the button that does it, with the page that it is on. What is not here only a command does."""
_ALL = [(re.compile(f"octofleet {command}"), step) for command, step in STEPS]
_PAGE = re.compile(r"(?<![\w/.:])/(?:hosts|installs|search|plans|runs|gates|account|explain|status|validate)(?![\w-])")
_LINK = re.compile(f"({_PAGE.pattern}(?:[/?][\\w%.~/?=&-]*[\\w%~=-])?)")


def over_http(hint: str) -> str:
    """The same hint in words of the pages."""
    for command, step in _ALL:
        hint = command.sub(lambda found, step=step: step.format_map(found.groupdict()), hint)  # type: ignore[misc]
    return hint


def parted(hint: str) -> list[tuple[str, bool]]:
    """The same in parts, and of each whether it is the address of a page."""
    return [(text, number % 2 == 1) for number, text in enumerate(_LINK.split(hint))]


def of_server(hint: str, url: str) -> str:
    """The same with the whole addresses of the pages that it names."""
    return _PAGE.sub(lambda found: url + found[0], hint)
