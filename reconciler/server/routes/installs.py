"""Routes of the machines that are installed over the network."""

from reconciler.identity.access import Action
from reconciler.reading import installs
from reconciler.server.route import Route

HOST = "/hosts/{tenant}/{name}"

ROUTES = (
    Route(
        method="GET",
        path="/installs",
        name="listInstalls",
        action=Action.VIEW,
        summary="Machines that are being installed over the network, or those whose installation ended so.",
        do=installs.installs,
        asks=installs.InstallsAsk,
        answers=installs.Installs,
        template="installs.html",
    ),
    Route(
        method="GET",
        path=f"{HOST}/installs",
        name="getInstallsOfHost",
        action=Action.VIEW,
        summary="How a host is installed: its newest installations, what its installer said, and what its machine was last told to boot and why.",
        do=installs.of_host,
        answers=installs.HostInstalls,
    ),
    Route(
        method="POST",
        path=f"{HOST}/installs/again",
        name="installAgain",
        action=Action.INSTALL,
        summary="Have the installation of a host that goes on begin anew, with another token, for whichever of its machines asks next.",
        do=installs.again,
        asks=installs.SaidAsk,
        answers=installs.HostInstalls,
        then=HOST,
        said="The installation begins anew.",
    ),
    Route(
        method="POST",
        path=f"{HOST}/installs/adopt",
        name="adoptGeneration",
        action=Action.ADOPT,
        summary="Say that the machine of a host is already what the generation says that the newest commit wants.",
        do=installs.adopt,
        asks=installs.SaidAsk,
        answers=installs.HostInstalls,
        then=HOST,
        said="The machine counts as installed; the next plan records it.",
        long=True,
    ),
    Route(
        method="POST",
        path=f"{HOST}/installs/sure",
        name="sureOfGeneration",
        action=Action.APPROVE,
        summary="Say after a restore that a host was installed with no higher generation than is on record, so that one may be armed.",
        do=installs.sure,
        asks=installs.SaidAsk,
        answers=installs.HostInstalls,
        then=HOST,
        said="What is on record counts; a higher generation may be armed.",
    ),
)
