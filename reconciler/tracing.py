"""Stages as OpenTelemetry spans: `octofleet.compile`, inside the span of the stage around them. Needs the extra `octofleet[otel]`.

All attempts at the steps of one run are one trace, whichever processes make them: its id is made from the run's. Their common parent is the run
itself, which no process sees from its beginning to its end, so that no span of it is sent.

The command traces when OpenTelemetry's own environment variables ask for it. They also say where spans go: OTEL_TRACES_EXPORTER (`otlp` by
default; `console`; `none`), OTEL_EXPORTER_OTLP_ENDPOINT and the others that the SDK documents.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler import stages

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer, TracerProvider

ASKING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
EXPORTERS = {"otlp": "otlp_proto_http"}
"""Names of OTEL_TRACES_EXPORTER that a package of the extra knows by another name."""


def enable(tracer_provider: "TracerProvider | None" = None) -> None:
    """Make a span of every stage from now on; once for each process. By default the spans go to the process' global provider. Raises
    `ImportError` without the extra."""
    from opentelemetry import trace  # noqa: PLC0415 - an optional extra

    tracer = trace.get_tracer("octofleet", tracer_provider=tracer_provider)
    provider = tracer_provider or trace.get_tracer_provider()
    stages.around.append(lambda name, about: _span(tracer, provider, name, about))


@contextmanager
def _span(tracer: "Tracer", provider: "TracerProvider", name: str, about: Mapping[str, object]) -> Iterator[None]:
    parent = run_context(str(about["run"]), provider) if "run" in about else None
    with tracer.start_as_current_span(f"octofleet.{name}", context=parent) as span:
        try:
            yield
        finally:
            span.set_attributes({f"octofleet.{key}": _attribute(value) for key, value in about.items()})


def _attribute(value: object) -> str | bool | int | float:
    return value if isinstance(value, str | bool | int | float) else str(value)


def run_context(run: str, provider: "TracerProvider") -> "Context":
    """Where spans of a run belong: a trace of its own, which is sampled or not as the provider's sampler says of that trace."""
    from opentelemetry import trace  # noqa: PLC0415 - an optional extra

    made = hashlib.sha256(f"octofleet run {run}".encode()).digest()
    trace_id, span_id = int.from_bytes(made[:16]), int.from_bytes(made[16:24])
    sampler = getattr(provider, "sampler", None)
    taken = sampler is None or sampler.should_sample(None, trace_id, "octofleet.run").decision.is_sampled()
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if taken else trace.TraceFlags.DEFAULT)
    known = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(known))


def enable_if_asked() -> str | None:
    """Trace if the environment asks for it. Gives why that cannot be, for people, or None."""
    asked = [name for name in ASKING if os.environ.get(name)]
    names = [name.strip() for name in os.environ.get("OTEL_TRACES_EXPORTER", "").split(",") if name.strip()] or ["otlp"]
    if not asked or names == ["none"]:
        return None
    try:
        enable(_provider(names))
    except ImportError:
        return f"{asked[0]} is set, but traces need the extra octofleet[otel]: going on without them"
    except (LookupError, ValueError) as error:
        return f"{asked[0]} is set, but traces cannot be sent: {error}; going on without them"
    return None


def _provider(names: list[str]) -> "TracerProvider":
    """One that sends to these exporters, at the latest when the process ends. Raises ImportError, LookupError for an exporter that is not installed."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - costs where nobody traces

    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an optional extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or "octofleet"}))
    for name in names:
        if name == "console":
            provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))  # stdout is the product
            continue
        found = entry_points(group="opentelemetry_traces_exporter", name=EXPORTERS.get(name, name))
        if not found:
            raise LookupError(f"there is no exporter {name}")
        provider.add_span_processor(BatchSpanProcessor(next(iter(found)).load()()))
    return provider
