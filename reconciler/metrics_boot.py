"""What this process serves to machines that boot from the network, as Prometheus metrics: the part of `metrics` about boot."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.types.installation import OPEN

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Booted:
    """The metrics that events and counts of the boot server move."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter  # noqa: PLC0415 - takes longer to import than many a plan takes

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self._ended = counter("octofleet_installations_ended_total", "Installations whose end this process wrote.", "state")
        self._decisions = counter("octofleet_boot_decisions_total", "What machines were told to boot.", "decision")
        self._refusals = counter(
            "octofleet_boot_refusals_total", "Refused requests to the boot server; the same one soon again is not counted."
        )
        self._tftp = counter("octofleet_tftp_transfers_total", "TFTP transfers and requests, by what became of them.", "result")
        self._tftp_bytes = counter("octofleet_tftp_bytes_total", "Bytes that TFTP clients have acknowledged.")
        self._tftp_resent = counter("octofleet_tftp_retransmissions_total", "Blocks that TFTP has sent once more.")
        self._dhcp = counter("octofleet_dhcp_packets_total", "Packets to proxyDHCP, by what became of them.", "result")

    def happened(self, name: str, fields: Mapping[str, Any]) -> None:
        """An event."""
        match name:
            case "boot-decision":
                self._decisions.labels(decision=fields["decision"]).inc()
            case "boot-refused":
                self._refusals.inc()
            case "installation-stage" | "installation-ended" if fields["state"] not in OPEN:
                self._ended.labels(state=fields["state"]).inc()

    def counted(self, what: str, number: int) -> None:
        """A count of work: `tftp_transfers`, `dhcp_offered` and the like, as `boot.serving` tells them."""
        protocol, _, result = what.partition("_")
        match protocol, result:
            case "tftp", "bytes":
                self._tftp_bytes.inc(number)
            case "tftp", "retransmissions":
                self._tftp_resent.inc(number)
            case "tftp", _:
                self._tftp.labels(result="complete" if result == "transfers" else result).inc(number)
            case "dhcp", _:
                self._dhcp.labels(result=result).inc(number)
