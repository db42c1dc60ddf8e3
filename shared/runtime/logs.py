"""Formats log records as Cloud Logging reads them: one JSON object a line on standard output, in one write.

All code logs through `logging`. A record may carry more in `extra`, by the names that google-cloud-logging uses:
`json_fields`, a mapping that is added to the line, and `trace`, the `Trace` of the HTTP request.
Source: https://cloud.google.com/logging/docs/structured-logging
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_REPORT_CHARACTERS: Final = 40_000  # Cloud Logging takes lines of at most 256 KB

_SEVERITIES: Final = frozenset({"DEBUG", "INFO", "WARNING", "ERROR"})
_SERVICE: Final = "tenant-vision"
_REPORTED_ERROR_EVENT: Final = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_CLOUD_TRACE: Final = re.compile(r"([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=([01]))?")


class Trace:
    """The trace and span of an HTTP request, from `traceparent` or `X-Cloud-Trace-Context`.

    Sources: https://www.w3.org/TR/trace-context/ and https://cloud.google.com/trace/docs/trace-context
    """

    def __init__(self, trace_id: str, span_id: str, *, sampled: bool) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Trace | None:
        """Parse the headers (lower-case names). Return None if neither is present and well-formed."""
        if match := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
            return cls(match[1], match[2], sampled=bool(int(match[3], 16) & 1))
        if match := _CLOUD_TRACE.fullmatch(headers.get("x-cloud-trace-context", "")):
            span = int(match[2] or 0)
            return cls(match[1].lower(), f"{span:016x}", sampled=match[3] == "1") if span < 2**64 else None
        return None

    def fields(self, project: str) -> dict[str, Any]:
        """Return the fields that Cloud Logging links to the trace in `project`."""
        trace = f"projects/{project}/traces/{self.trace_id}" if project else self.trace_id
        return {
            "logging.googleapis.com/trace": trace,
            "logging.googleapis.com/spanId": self.span_id,
            "logging.googleapis.com/trace_sampled": self.sampled,
        }


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line.

    Fields that are None are left out, and `tenant_id` becomes a label too. A record without `json_fields` names
    its logger.
    """

    def __init__(self, *, project: str = "") -> None:
        """Set the project in which traces are looked up."""
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object of the record, without a line break."""
        fields: Mapping[str, Any] = getattr(record, "json_fields", {"logger": record.name})
        trace: Trace | None = getattr(record, "trace", None)
        line: dict[str, Any] = {
            "severity": record.levelname if record.levelname in _SEVERITIES else "ERROR",
            "message": super().format(record),
        }
        if trace:
            line |= trace.fields(self._project)
        if fields.get("tenant_id"):
            line["logging.googleapis.com/labels"] = {"tenant_id": fields["tenant_id"]}
        line |= {name: value for name, value in fields.items() if value is not None}
        text = json.dumps(line, ensure_ascii=False, default=str)
        return text.encode(errors="backslashreplace").decode()  # UTF-8 cannot encode a lone surrogate


class StandardOutputHandler(logging.Handler):
    """Writes each record in one write to what `sys.stdout` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line. An error is raised to the caller, not printed."""
        sys.stdout.write(f"{self.format(record)}\n")
        sys.stdout.flush()


def configure_logging(loggers: Iterable[str], *, level: str = "INFO", project: str = "") -> None:
    """Have the named loggers write JSON lines of `level` and above to standard output, and nowhere else."""
    handler = StandardOutputHandler()
    handler.setFormatter(JsonFormatter(project=project))
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def report_error(
    logger: logging.Logger,
    error: BaseException,
    fields: Mapping[str, Any],
    *,
    trace: Trace | None = None,
    service: str = _SERVICE,
) -> None:
    """Log an error with its traceback in the form that Error Reporting groups by stack.

    The middle of a traceback of more than MAX_REPORT_CHARACTERS is left out.

    Source: https://cloud.google.com/error-reporting/docs/formatting-error-messages
    """
    form = {"@type": _REPORTED_ERROR_EVENT, "serviceContext": {"service": service}}
    message = "".join(traceback.format_exception(error))
    if len(message) > MAX_REPORT_CHARACTERS:
        half = MAX_REPORT_CHARACTERS // 2 - 2
        message = f"{message[:half]}\n…\n{message[-half:]}"
    logger.error(message, extra={"json_fields": {**form, **fields}, "trace": trace})
