"""A route: what may be asked at a path, whose leave it takes, and what answers. One table of them makes the API, its OpenAPI document and the pages."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reconciler.identity.access import Action
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask

API = "/api/v1"


class Nothing(Ask, frozen=True, kw_only=True):
    """Nothing more than the path says."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """`path` is below `/api/v1`, and the same without it for people. `do` answers with a document (`answers`) in a thread of its own: of what the caller
    may see, or after `call.permit`; a GET takes a query and others a body (`asks`). `template`: what shows the document as a page, which stands at
    `page` where that is not the same path. `then`: where a form goes on, or a GET without template, with the names of the path and the document's fields
    in it, and `said`: what the page says there. `kind`: the content type of what is answered as it is (`Raw`). `stream`: what `do` gives is followed, and
    answered with server-sent events, each an `answers`. `long`: it may take long, as what reads all of a commit does; few such are answered at once.
    `later`: a document that is answered with 202 instead: what was asked for goes on, and will be in the list at the route's own path, its `Location`, where
    a form goes on too."""

    method: str
    path: str
    name: str
    action: Action
    summary: str
    do: Callable[[Call, Any], Any]
    answers: Any
    asks: type[Ask] = Nothing
    template: str = ""
    page: str = ""
    then: str = ""
    said: str = ""
    status: int = 200
    kind: str = ""
    stream: bool = False
    long: bool = False
    later: Any = None


def plain_path(path: str) -> str:
    """A path without the patterns that its names have to match: `/pulls/{project}` of `/pulls/{project:.+}`."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)
