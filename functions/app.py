"""Answers events and requests: runs the pipeline, decides the verdict, publishes errors, logs one summary line.

The one `except` that decides what becomes of a failure is in `App._process`.
"""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import flask

from functions import envelope
from functions.body import drop_body, read_body
from shared import events
from shared.cloud.error_topic import ErrorTopic
from shared.config import Config
from shared.errors import (
    Deferred,
    InternalError,
    PublishFailed,
    Rejected,
    TenantVisionError,
    Verdict,
    shortage,
)
from shared.events import Event, ImageMessage, Request
from shared.names import sentence
from shared.pipeline.runner import PipelineRunner, RunResult
from shared.results import documents
from shared.runtime import deadline
from shared.runtime.event_record import EventRecord, event_record
from shared.runtime.logs import Trace, report_error

_LOG: Final = logging.getLogger(__name__)
_LEVELS: Final[Mapping[Verdict, int]] = {
    "done": logging.INFO,
    "duplicate": logging.INFO,
    "ignored": logging.INFO,
    "rejected": logging.WARNING,
    "deferred": logging.WARNING,
}


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """How an event ended. `occurred_at` is None if the platform did not tell a valid time."""

    verdict: Verdict
    error: TenantVisionError | None = None
    result: RunResult | None = None
    occurred_at: datetime | None = None


class App:
    """The controller of one instance, shared by all its threads."""

    def __init__(self, config: Config, *, pipeline: PipelineRunner, error_topic: ErrorTopic) -> None:
        self._config = config
        self._pipeline = pipeline
        self._error_topic = error_topic
        self._event_numbers = itertools.count()

    def close(self) -> None:
        """End the instance's worker processes."""
        self._pipeline.close()

    def answer_event(self, request: flask.Request) -> flask.Response:
        """Process the image of an event. Answer 200 to acknowledge it, or 503 to have it delivered again."""
        if request.method != "POST":
            return _method_not_allowed(request)
        headers = _lowercase_headers(request)
        with event_record() as record, deadline.fail_after(self._config.event_deadline_s):
            outcome = self._process(
                lambda: envelope.parse(headers, read_body(request)), self._pipeline.run, headers, record
            )
            if isinstance(outcome.error, Rejected) or self._is_too_old(outcome):
                outcome = self._publish(outcome, record)
            self._log_summary(outcome, headers, record)
        status = 503 if outcome.verdict == "deferred" else 200
        return flask.Response(f"{outcome.verdict}\n", status, mimetype="text/plain")

    def answer_request(self, request: flask.Request) -> flask.Response:
        """Process the image of an HTTP request. Answer with the result, or with a problem document (RFC 9457).

        The caller gets the error as the answer, so it is not published.
        """
        if request.method != "POST":
            return _method_not_allowed(request)
        headers = _lowercase_headers(request)
        with event_record() as record, deadline.fail_after(self._config.event_deadline_s):
            outcome = self._process(
                lambda: Event(ImageMessage({}, read_body(request)), str(uuid.uuid4())),
                self._pipeline.run_and_read,
                headers,
                record,
            )
            self._log_summary(outcome, headers, record)
        if outcome.result and outcome.result.document:
            return flask.Response(outcome.result.document, mimetype="application/json")
        error = outcome.error or InternalError()
        problem = documents.to_json(documents.problem(error, record.fields))
        return flask.Response(problem, error.status, mimetype="application/problem+json")

    def _process(
        self,
        parse_event: Callable[[], Event],
        run: Callable[[Request], RunResult],
        headers: Mapping[str, str],
        record: EventRecord,
    ) -> EventOutcome:
        """Parse an event, run its request, and turn any exception into an outcome."""
        occurred_at = None
        try:
            event = parse_event()
            occurred_at = event.occurred_at
            record.add_fields(**events.loggable_fields(event))
            request = events.parse(event, self._config)
            record.add_fields(image=request.image.uri, pipeline=request.pipeline)
            with deadline.fail_after(self._config.event_deadline_s - self._config.publish_reserve_s):
                result = run(request)
        except TenantVisionError as error:
            return EventOutcome(error.verdict, error, occurred_at=occurred_at)
        except Exception as error:  # noqa: BLE001 - a bug: its cause goes to the log and not to the sender
            if exhausted := shortage(error):
                _LOG.warning("The instance is exhausted: %s", sentence(repr(error)))
                return EventOutcome("deferred", exhausted, occurred_at=occurred_at)
            report_error(_LOG, error, record.fields, trace=Trace.from_headers(headers))
            return EventOutcome("rejected", InternalError(), occurred_at=occurred_at)
        return EventOutcome("duplicate" if result.duplicate else "done", result=result, occurred_at=occurred_at)

    def _is_too_old(self, outcome: EventOutcome) -> bool:
        """Return whether a deferred event has exceeded its maximum age, so that it is not delivered again."""
        if not isinstance(outcome.error, Deferred) or outcome.occurred_at is None:
            return False
        return (datetime.now(UTC) - outcome.occurred_at).total_seconds() > self._config.max_event_age_s

    def _publish(self, outcome: EventOutcome, record: EventRecord) -> EventOutcome:
        """Publish the error of an outcome. The event is then rejected, or deferred if that fails."""
        error = outcome.error or InternalError()
        try:
            self._error_topic.publish(
                *documents.error_message(error, record.fields, occurred_at=datetime.now(UTC))
            )
        except PublishFailed as failure:
            report_error(_LOG, failure, record.fields)
            return EventOutcome("deferred", failure)
        return EventOutcome("rejected", error)

    def _log_summary(self, outcome: EventOutcome, headers: Mapping[str, str], record: EventRecord) -> None:
        """Log the one summary line of an event."""
        error = outcome.error
        outcome_fields: dict[str, object] = {"verdict": outcome.verdict, "status": 200}
        message = f"{outcome.verdict} {record.fields.get('image', 'an event without an image')}"
        if error:
            outcome_fields |= {"status": error.status, "error": error.error, "reason": str(error)}
            message = f"{message}: {error}"
        fields = {
            **record.fields,
            **outcome_fields,
            "cold_start": next(self._event_numbers) == 0,
            "timings_ms": record.timings_ms,
            "cache": dict(self._pipeline.cache_stats()),
        }
        level = logging.ERROR if isinstance(error, InternalError) else _LEVELS[outcome.verdict]
        _LOG.log(level, message, extra={"json_fields": fields, "trace": Trace.from_headers(headers)})


def _method_not_allowed(request: flask.Request) -> flask.Response:
    drop_body(request)
    return flask.Response("method not allowed: expected POST\n", 405, {"Allow": "POST"}, mimetype="text/plain")


def _lowercase_headers(request: flask.Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}
