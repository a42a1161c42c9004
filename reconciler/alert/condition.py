"""What somebody may want to be told of, as it is at a moment. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Event(StrEnum):
    """What an alert is about."""

    RUN_FAILED = "run-failed"
    DRIFT_FOUND = "drift-found"
    APPROVAL_WANTED = "approval-wanted"
    WINDOW_MISSED = "window-missed"
    HOST_SILENT = "host-silent"
    INSTALL_FAILED = "install-failed"

    @property
    def words(self) -> str:
        """As people say it: `run failed`."""
        return self.replace("-", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is so, since a time in seconds since the epoch. `source` is the Fleet; `tenant` is empty for what is across tenants; `subject` names
    what it is about, `text` says it in words, `next` what to do. `about` is the run that ended so, where it stays so until another one ends otherwise."""

    event: Event
    source: str
    tenant: str
    subject: str
    text: str
    next: str
    since: float
    about: str = ""

    @property
    def topic(self) -> str:
        """What is told together, and is one incident where the receiver has incidents: an event in a tenant."""
        return f"{self.event}/{self.source}/{self.tenant or '-'}"

    @property
    def key(self) -> str:
        """The same for as long as it is the same trouble, whatever its words."""
        return f"{self.topic}/{self.subject}"
