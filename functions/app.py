"""Wires the parts once per instance, and decides what becomes of an event: the one `except` is here."""

from __future__ import annotations

import itertools
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import flask

from functions import envelope
from functions.body import drop_body, read_body
from shared import events
from shared.cloud.error_topic import ErrorTopic
from shared.cloud.object_store import ObjectStore
from shared.config import Config
from shared.errors import (
    Deferred,
    InternalError,
    PublishFailed,
    Rejected,
    TenantVisionError,
    Verdict,
)
from shared.events import Event, ImageMessage, Request
from shared.ml.model_cache import ModelCache
from shared.ml.model_limits import ModelLimits
from shared.pipeline.runner import PipelineRunner, RunResult
from shared.results import documents
from shared.runtime import deadline
from shared.runtime.event_record import EventRecord, event_record
from shared.runtime.logs import Log, LogHandler, Trace

_SEVERITY: Final[Mapping[Verdict, str]] = {
    "done": "INFO",
    "duplicate": "INFO",
    "ignored": "INFO",
    "rejected": "WARNING",
    "deferred": "WARNING",
}


@dataclass(slots=True)
class EventOutcome:
    """How an event ended. `occurred_at` is when it began to be one, as far as the platform told."""

    verdict: Verdict
    error: TenantVisionError | None = None
    outcome: RunResult | None = None
    occurred_at: datetime | None = None


class App:
    """One per instance, used by all its threads."""

    def __init__(self, config: Config) -> None:
        store = ObjectStore(project=config.project or None)
        ModelCache.configure(
            store,
            bucket=config.gcs_bucket,
            threads=config.ort_threads,
            refresh_s=config.model_refresh_s,
            limits=ModelLimits.of(config),
            cache_bytes=config.model_cache_bytes,
        )
        self._config = config
        self._log = Log(level=config.log_level, project=config.project)
        self._errors = ErrorTopic(config.error_topic, project=config.project)
        self._pipeline = PipelineRunner(store, config)
        self._events = itertools.count()
        logging.getLogger("shared").addHandler(LogHandler(self._log))

    def answer_event(self, request: flask.Request) -> flask.Response:
        """Process what an event asks for. 200 acknowledges it, 503 has it delivered again."""
        if request.method != "POST":
            return _no_event(request)
        headers = _lower(request)
        with event_record() as summary, deadline.fail_after(self._config.event_deadline_s):
            end = self._settle(
                lambda: envelope.parse(headers, read_body(request)), self._pipeline.run, headers, summary
            )
            if isinstance(end.error, Rejected) or self._is_too_old(end):
                end = self._publish(end, summary)
            self._write_summary(end, headers, summary)
        status = 503 if end.verdict == "deferred" else 200
        return flask.Response(f"{end.verdict}\n", status, mimetype="text/plain")

    def answer_request(self, request: flask.Request) -> flask.Response:
        """Process what a caller asks for and answer with the result, or with a problem and its status.

        The caller is told, so nothing is published.
        """
        if request.method != "POST":
            return _no_event(request)
        headers = _lower(request)
        with event_record() as summary, deadline.fail_after(self._config.event_deadline_s):
            end = self._settle(
                lambda: Event(ImageMessage({}, read_body(request)), str(uuid.uuid4())),
                self._pipeline.run_and_read,
                headers,
                summary,
            )
            self._write_summary(end, headers, summary)
        if end.outcome and end.outcome.document:
            return flask.Response(end.outcome.document, mimetype="application/json")
        error = end.error or InternalError()
        problem = documents.to_json(documents.problem(error, summary.fields))
        return flask.Response(problem, error.status, mimetype="application/problem+json")

    def _settle(
        self,
        opened: Callable[[], Event],
        run: Callable[[Request], RunResult],
        headers: Mapping[str, str],
        summary: EventRecord,
    ) -> EventOutcome:
        """Open an event, process it, and say how it ended."""
        occurred_at = None
        try:
            event = opened()
            occurred_at = event.occurred_at
            summary.add_fields(**events.loggable_fields(event))
            request = events.parse(event, self._config)
            summary.add_fields(image=request.image.uri, pipeline=request.pipeline)
            with deadline.fail_after(self._config.event_deadline_s - self._config.publish_reserve_s):
                outcome = run(request)
        except TenantVisionError as error:
            return EventOutcome(error.verdict, error, occurred_at=occurred_at)
        except Exception as error:  # noqa: BLE001 - a bug of ours: told in full to the log, not to the sender
            self._log.report(error, trace=Trace.from_headers(headers), **summary.fields)
            return EventOutcome("rejected", InternalError(), occurred_at=occurred_at)
        return EventOutcome("duplicate" if outcome.duplicate else "done", outcome=outcome, occurred_at=occurred_at)

    def _is_too_old(self, end: EventOutcome) -> bool:
        """Whether waiting longer is no use to whoever sent this."""
        if not isinstance(end.error, Deferred) or end.occurred_at is None:
            return False
        return (datetime.now(UTC) - end.occurred_at).total_seconds() > self._config.max_event_age_s

    def _publish(self, end: EventOutcome, summary: EventRecord) -> EventOutcome:
        """Tell the error topic; what cannot be told is deferred, not lost."""
        error = end.error or InternalError()
        try:
            self._errors.publish(*documents.error_message(error, summary.fields, occurred_at=datetime.now(UTC)))
        except PublishFailed as failure:
            self._log.report(failure, **summary.fields)
            return EventOutcome("deferred", failure)
        return EventOutcome("rejected", error)

    def _write_summary(self, end: EventOutcome, headers: Mapping[str, str], summary: EventRecord) -> None:
        error = end.error
        fields: dict[str, object] = {"verdict": end.verdict, "status": 200}
        message = f"{end.verdict} {summary.fields.get('image', 'an event without an image')}"
        if error:
            fields |= {"status": error.status, "error": error.error, "reason": str(error)}
            message = f"{message}: {error}"
        self._log.write(
            "ERROR" if isinstance(error, InternalError) else _SEVERITY[end.verdict],
            message,
            trace=Trace.from_headers(headers),
            **summary.fields,
            **fields,
            cold_start=next(self._events) == 0,
            timings_ms=summary.timings_ms,
            cache=asdict(ModelCache.stats()),
        )


def _no_event(request: flask.Request) -> flask.Response:
    drop_body(request)
    return flask.Response("Only POST carries an event\n", 405, {"Allow": "POST"}, mimetype="text/plain")


def _lower(request: flask.Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


APP: Final = App(Config.from_environment(os.environ))
