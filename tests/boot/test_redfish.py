"""Machines switched by Redfish, against OpenStack's emulator: the whole life, what a repeated call does not do twice, and BMCs that are wrong or hostile."""

import base64
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from reconciler.drivers.driver import Context
from reconciler.drivers.retry import Retries
from reconciler.errors import Permanent, RetryLater
from reconciler.power import redfish, redfish_client
from reconciler.power.bmc import Bmc, PowerState
from reconciler.power.switch import boot_from_network_once, check, power
from reconciler.types.values import SecretValue
from tests.boot.bmc import ONE, PASSWORD, TWO, USER, Board, Place, emulator, reply

CYCLE = ["ForceOff", "Pxe Once UEFI", "On"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(redfish, "POLL_S", 0.02)
    with emulator(tmp_path, monkeypatch) as here:
        yield here


def soon(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


def boot(bmc: Bmc, **over: Any) -> None:
    boot_from_network_once(bmc, **{"deadline": soon(), **over})


def test_the_whole_life_of_a_machine(place: Place) -> None:
    said: list[str] = []
    assert check(place.bmc()) == ""
    assert power(place.bmc(), deadline=soon()) is PowerState.OFF
    boot(place.bmc(), log=said.append)
    assert place.board.done == ["Pxe Once UEFI", "On"]
    assert said == ["its next start is from the network (Pxe)", "asked it for On"]
    assert power(place.bmc(), deadline=soon()) is PowerState.ON
    boot(place.bmc())
    assert place.board.done[2:] == CYCLE
    assert power(place.bmc(system=TWO), deadline=soon()) is PowerState.OFF


def test_legacy_boot_mode_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(tmp_path, monkeypatch, boot_mode="Legacy") as place:
        boot(place.bmc())
        assert place.board.done == ["Pxe Once Legacy", "On"]


def test_a_call_made_again_does_not_start_the_machine_again(place: Place) -> None:
    place.board.standard = True
    asked_at = time.time()
    boot(place.bmc(), asked_at=asked_at)
    boot(place.bmc(), asked_at=asked_at)
    place.board.once = False  # the machine has used it up
    boot(place.bmc(), asked_at=asked_at)
    assert place.board.done == ["Pxe Once UEFI", "On"]
    boot(place.bmc(), asked_at=time.time() + 60)  # the next installation
    assert place.board.done[2:] == CYCLE


def test_without_a_time_of_the_last_reset_the_override_that_waits_tells(place: Place) -> None:
    place.board.standard, place.board.tells_resets = True, False
    asked_at = time.time()
    boot(place.bmc(), asked_at=asked_at)
    boot(place.bmc(), asked_at=asked_at)
    assert place.board.done == ["Pxe Once UEFI", "On"]


def test_a_clock_that_is_wrong_is_not_believed(place: Place) -> None:
    place.board.standard = True
    boot(place.bmc())
    place.board.once = False
    place.board.edit = lambda system: system.update(LastResetTime="2099-01-01T00:00:00+00:00")
    boot(place.bmc(), asked_at=time.time())
    assert place.board.done[2:] == CYCLE


@pytest.mark.parametrize("lost", ["ForceOff", "On"])
def test_a_reset_whose_answer_is_lost_is_not_made_twice(place: Place, tmp_path: Path, lost: str) -> None:
    place.board.standard = True
    boot(place.bmc())
    place.board.done.clear()
    place.board.last_reset = datetime.now(UTC) - timedelta(hours=1)
    losing = [lost]

    def fault(board: Board, request: Any) -> Any:
        if request.method == "POST" and request.json["ResetType"] in losing:
            losing.clear()
            board.emulated(request)
            return reply(504, {}, {"Retry-After": "0"})
        return None

    place.board.fault = fault
    retried(tmp_path, place.bmc(), asked_at=time.time())
    assert losing == []
    assert place.board.done == CYCLE


def retried(directory: Path, bmc: Bmc, **over: Any) -> None:
    """As a driver is called."""
    nothing: Any = None
    context = Context(deadline=soon(), scratch=directory, secret=nothing, export=nothing, content=nothing)
    Retries(sleep=lambda seconds: None, draw=lambda low, high: 0.0, budget_s=1000).made(lambda: boot(bmc, **over), context)


def test_a_bmc_that_is_busy_is_asked_again(place: Place, tmp_path: Path) -> None:
    busy = [503, 429, 500]
    place.board.fault = lambda board, request: reply(busy.pop(), {}, {"Retry-After": "0"}) if busy else None
    retried(tmp_path, place.bmc())
    assert place.board.done == ["Pxe Once UEFI", "On"]


def test_a_bmc_says_when_to_come_again(place: Place) -> None:
    place.board.fault = lambda board, request: reply(503, {}, {"Retry-After": "77"})
    with pytest.raises(RetryLater, match="answers GET /redfish/v1/ with 503") as caught:
        boot(place.bmc())
    assert caught.value.after_s == 77


def test_a_wrong_password_is_permanent_and_nothing_is_done(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bmc = place.bmc(password=SecretValue("not-the-password"))
    with pytest.raises(Permanent, match="does not know the user octofleet") as caught:
        boot(bmc)
    assert caught.value.code == "bmc-credentials"
    assert place.board.done == []
    assert "not-the-password" not in f"{caught.value!r} {caught.value} {caplog.text} {bmc!r} {check(bmc)}"


def test_what_a_bmc_repeats_of_the_password_is_not_told(place: Place) -> None:
    def fault(board: Board, request: Any) -> Any:
        told = f"bad header {request.headers['Authorization']}\nfor {PASSWORD}"
        return reply(400, {"error": {"@Message.ExtendedInfo": [{"Message": told}]}})

    place.board.fault = fault
    with pytest.raises(Permanent, match=r"with 400: bad header Basic \*\*\* for \*\*\*"):
        boot(place.bmc())


@pytest.mark.parametrize(("system", "said"), [("nobody", "has no system nobody"), ("", "has 2 systems")])
def test_a_system_that_is_not_there_or_not_said(place: Place, system: str, said: str) -> None:
    with pytest.raises(Permanent, match=said) as caught:
        boot(place.bmc(system=system))
    assert ONE in caught.value.hint
    assert TWO in caught.value.hint


def test_a_system_by_its_serial_number_in_any_case(place: Place) -> None:
    place.board.edit = lambda system: system.update(SerialNumber=f"EX-{system['UUID'][:4]}")
    boot(place.bmc(system="ex-C0FF"))
    assert power(place.bmc(system=TWO), deadline=soon()) is PowerState.ON
    assert power(place.bmc(system=ONE), deadline=soon()) is PowerState.OFF


def test_an_untrusted_certificate_gets_no_password(place: Place) -> None:
    for over in ({"ca_file": None}, {"fingerprint": "ab" * 32}):
        with pytest.raises(Permanent) as caught:
            boot(place.bmc(**over))
        assert caught.value.code == "bmc-untrusted"
    assert place.board.asked == 0


def test_a_certificate_is_trusted_by_its_fingerprint_which_check_shows(place: Place) -> None:
    assert place.fingerprint in check(place.bmc(ca_file=None))
    pairs = ":".join(place.fingerprint[at : at + 2].upper() for at in range(0, 64, 2))
    for text in (place.fingerprint, pairs):
        assert check(place.bmc(ca_file=None, fingerprint=text)) == ""


@pytest.mark.parametrize("over", [{"url": "http://127.0.0.1:1"}, {"fingerprint": "abcd"}, {"ca_file": Path("/nowhere")}])
def test_settings_that_would_betray_the_password(place: Place, over: Any) -> None:
    with pytest.raises(Permanent) as caught:
        boot(place.bmc(**over))
    assert caught.value.code == "bmc-untrusted"


def test_nobody_there(place: Place) -> None:
    with pytest.raises(RetryLater, match="cannot be reached"):
        boot(place.bmc(url="https://127.0.0.1:1"))
    assert "check `bmc.url`" in check(place.bmc(url="https://127.0.0.1:1"))


@pytest.mark.parametrize("drips", [False, True])
def test_a_bmc_that_hangs_is_waited_for_no_longer_than_there_is_time(place: Place, drips: bool) -> None:
    from werkzeug.wrappers import Response

    end = Event()

    def endless() -> Iterator[bytes]:
        while not end.wait(0.05):
            yield b" "

    def fault(board: Board, request: Any) -> Any:
        if drips:
            return Response(endless())
        end.wait(60)
        return reply(503, {})

    place.board.fault = fault
    try:
        with pytest.raises(RetryLater, match="did not answer within"):
            boot(place.bmc(), deadline=soon(0.5))
    finally:
        end.set()
    assert place.board.asked == 1


def test_a_machine_that_does_not_go_off_is_gone_on_with_later(place: Place) -> None:
    boot(place.bmc())
    place.board.edit = lambda system: system.update(PowerState="PoweringOff")
    with pytest.raises(RetryLater, match="its machine is not off yet"):
        boot(place.bmc(), deadline=soon(1))
    with pytest.raises(RetryLater, match="its machine is not off yet"):
        boot(place.bmc(), cancelled=lambda: True)
    assert power(place.bmc(), deadline=soon()) is PowerState.UNKNOWN
    assert "On" not in place.board.done[2:]


def test_a_change_in_between_is_read_again(place: Place) -> None:
    place.board.standard = True
    seen: list[str] = []

    def fault(board: Board, request: Any) -> Any:
        if request.method == "PATCH" and not seen:
            board.version += 1
        seen.extend([request.headers["If-Match"]] if request.method == "PATCH" else [])

    place.board.fault = fault
    boot(place.bmc())
    assert seen == ['W/"1"', 'W/"2"']
    assert place.board.done == ["Pxe Once UEFI", "On"]


def only(*resets: str, info: bool = False) -> Any:
    def edit(system: dict[str, Any]) -> None:
        action = system["Actions"]["#ComputerSystem.Reset"]
        del action["ResetType@Redfish.AllowableValues"]
        action |= {"@Redfish.ActionInfo": "/redfish/v1/ResetInfo"} if info else {"ResetType@Redfish.AllowableValues": [*resets]}

    return edit


def test_a_bmc_that_can_only_restart(place: Place) -> None:
    boot(place.bmc())
    place.board.edit = only("On", "GracefulRestart", "ForceRestart")
    boot(place.bmc())
    assert place.board.done[2:] == ["Pxe Once UEFI", "ForceRestart"]


def test_resets_that_stand_in_the_action_info(place: Place) -> None:
    boot(place.bmc())
    place.board.edit = only(info=True)
    parameters = [{"Name": "ResetType", "AllowableValues": ["ForceOn", "GracefulShutdown"]}]
    place.board.fault = lambda board, request: reply(200, {"Parameters": parameters}) if request.path.endswith("ResetInfo") else None
    boot(place.bmc())
    assert place.board.done[2:] == ["GracefulShutdown", "Pxe Once UEFI", "ForceOn"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (only("Nmi"), "only Nmi"),
        (lambda system: system["Boot"].update({"BootSourceOverrideTarget@Redfish.AllowableValues": ["Hdd"]}), "does not offer to boot"),
    ],
)
def test_a_bmc_that_cannot_do_it_says_so_and_nothing_is_done(place: Place, edit: Any, said: str) -> None:
    place.board.edit = edit
    with pytest.raises(Permanent, match=said):
        boot(place.bmc())
    assert said in check(place.bmc())
    assert place.board.done == []


class Sessions:
    """A service without Basic authentication."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.ended: list[str] = []

    def __call__(self, board: Board, request: Any) -> Any:
        sessions = "/redfish/v1/SessionService/Sessions"
        if request.path == sessions:
            if request.json != {"UserName": USER, "Password": PASSWORD}:
                return reply(401, {})
            self.open.append(f"token-{len(self.open)}")
            return reply(201, {}, {"X-Auth-Token": self.open[-1], "Location": f"{sessions}/{self.open[-1]}"})
        if request.headers.get("X-Auth-Token") not in self.open:
            return reply(401, {})
        if request.method == "DELETE":
            self.ended.append(request.path.rpartition("/")[2])
            return reply(200, {})
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return board.emulated(request, HTTP_AUTHORIZATION=f"Basic {basic}")


def test_a_session_where_there_is_no_basic_authentication(place: Place) -> None:
    sessions = place.board.fault = Sessions()
    boot(place.bmc())
    assert place.board.done == ["Pxe Once UEFI", "On"]
    assert sessions.open == sessions.ended == ["token-0"]
    with pytest.raises(Permanent, match="does not know the user"):
        boot(place.bmc(password=SecretValue("wrong")))


DEEP = b'{"a":' * 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"Systems": 7}',
        b'{"Systems": {"@odata.id": "https://evil.example.net/redfish/v1/Systems"}}',
        b'{"Systems": {"@odata.id": "//evil.example.net/"}}',
        b'{"Systems": {"@odata.id": "@evil.example.net/"}}',
        DEEP,
        b" " * (redfish_client.MOST_BYTES + 1),
    ],
    ids=["html", "list", "number", "elsewhere", "other-host", "user-info", "deep", "large"],
)
def test_answers_that_are_no_redfish(place: Place, body: bytes) -> None:
    from werkzeug.wrappers import Response

    place.board.fault = lambda board, request: Response(body, content_type="application/json")
    with pytest.raises(Permanent) as caught:
        boot(place.bmc())
    assert caught.value.code == "bmc-answer"
    assert place.board.asked == 1


def test_a_redirect_is_not_followed(place: Place) -> None:
    place.board.fault = lambda board, request: reply(307, {}, {"Location": f"{place.url}/redfish/v1/Systems"})
    with pytest.raises(Permanent, match="with 307"):
        boot(place.bmc())
    assert place.board.asked == 1


def test_a_list_of_systems_without_end(place: Place) -> None:
    def fault(board: Board, request: Any) -> Any:
        link = {"@odata.id": request.path}
        return reply(200, {"Systems": link, "Members": [link], "Members@odata.nextLink": request.path})

    place.board.fault = fault
    with pytest.raises(Permanent, match="has no system"):
        boot(place.bmc())
    assert place.board.asked == 1 + 2 * redfish.MOST_SYSTEMS
