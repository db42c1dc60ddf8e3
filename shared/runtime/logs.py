"""Writes log lines as Cloud Logging reads them: one JSON object a line on standard output, in one write."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final

_SEVERITIES: Final = {"DEBUG": 100, "INFO": 200, "WARNING": 400, "ERROR": 500}
_REPORTED: Final = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_CLOUD_TRACE: Final = re.compile(r"([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=([01]))?")


class Trace:
    """The trace and span a request belongs to, from `traceparent` or `X-Cloud-Trace-Context`.

    Sources: https://www.w3.org/TR/trace-context/ and https://cloud.google.com/trace/docs/trace-context
    """

    def __init__(self, trace_id: str, span_id: str, *, sampled: bool) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Trace | None:
        """Read the headers (lower-case names); None where neither is there and well formed."""
        if match := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
            return cls(match[1], match[2], sampled=bool(int(match[3], 16) & 1))
        if match := _CLOUD_TRACE.fullmatch(headers.get("x-cloud-trace-context", "")):
            span = int(match[2] or 0)
            return cls(match[1].lower(), f"{span:016x}", sampled=match[3] == "1") if span < 2**64 else None
        return None

    def fields(self, project: str) -> dict[str, Any]:
        trace = f"projects/{project}/traces/{self.trace_id}" if project else self.trace_id
        return {
            "logging.googleapis.com/trace": trace,
            "logging.googleapis.com/spanId": self.span_id,
            "logging.googleapis.com/trace_sampled": self.sampled,
        }


class Log:
    """Knows the lowest severity worth writing and the project that traces belong to."""

    def __init__(self, *, level: str = "INFO", project: str = "", service: str = "tenant-vision") -> None:
        self._least = _SEVERITIES[level]
        self._project = project
        self._service = service

    def write(self, severity: str, message: str, *, trace: Trace | None = None, **fields: Any) -> None:
        """Write one line. Fields that are None are left out; `tenant_id` becomes a label too."""
        if _SEVERITIES[severity] < self._least:
            return
        line: dict[str, Any] = {"severity": severity, "message": message}
        if trace:
            line |= trace.fields(self._project)
        if fields.get("tenant_id"):
            line["logging.googleapis.com/labels"] = {"tenant_id": fields["tenant_id"]}
        line |= {name: value for name, value in fields.items() if value is not None}
        text = json.dumps(line, ensure_ascii=False, default=str)
        sys.stdout.write(text.encode(errors="backslashreplace").decode() + "\n")  # "\\ud800" alone is no UTF-8
        sys.stdout.flush()

    def report(self, error: BaseException, *, trace: Trace | None = None, **fields: Any) -> None:
        """Write an error with its traceback in the form that Error Reporting groups by stack.

        Source: https://cloud.google.com/error-reporting/docs/formatting-error-messages
        """
        stack = "".join(traceback.format_exception(error))
        service = {"serviceContext": {"service": self._service}}
        self.write("ERROR", stack, trace=trace, **{"@type": _REPORTED}, **service, **fields)


class LogHandler(logging.Handler):
    """Takes what modules say through `logging` to the same lines."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        severity = record.levelname if record.levelname in _SEVERITIES else "ERROR"
        self._log.write(severity, self.format(record), logger=record.name)
