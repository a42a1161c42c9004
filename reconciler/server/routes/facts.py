"""Routes of what hosts said of themselves."""

from reconciler.identity.access import Action
from reconciler.reading import facts
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/hosts/{tenant}/{name}/facts",
        name="getFactsOfHost",
        action=Action.VIEW,
        summary="When a host was asked, answered and as wanted last, its facts, and how they changed.",
        do=facts.facts_of_host,
        asks=facts.HostFactsAsk,
        answers=facts.HostKnown,
    ),
    Route(
        method="GET",
        path="/facts",
        name="getFacts",
        action=Action.VIEW,
        summary="How facts of hosts changed, the same on many said once, and how many hosts have which value of one.",
        do=facts.facts,
        asks=facts.FactsAsk,
        answers=facts.FactsDocument,
        template="facts.html",
    ),
    Route(
        method="GET",
        path="/facts/hosts",
        name="listHostsByFact",
        action=Action.VIEW,
        summary="The hosts of which a fact is as a pattern says.",
        do=facts.fact_hosts,
        asks=facts.FactHostsAsk,
        answers=facts.FactHosts,
        template="fact_hosts.html",
    ),
)
