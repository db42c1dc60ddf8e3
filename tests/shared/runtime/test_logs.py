"""Log lines as Cloud Logging and Error Reporting read them."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shared.runtime.logs import MAX_REPORT_CHARACTERS, Trace, configure_logging, report_error

TRACE_ID, SPAN_ID = "5cbe6e3a9a7f4b4e8a0d5c1d2b3f4a5e", "1f2e3d4c5b6a7980"
SAMPLED = Trace(TRACE_ID, SPAN_ID, sampled=True)
LOGGER = logging.getLogger("tests.of.the.formatter")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    configure_logging([LOGGER.name])
    yield
    LOGGER.handlers.clear()


def write(message: str, level: int = logging.INFO, trace: Trace | None = None, **fields: Any) -> None:
    """Log a message with fields."""
    LOGGER.log(level, message, extra={"json_fields": fields, "trace": trace})


def written_line(capsys: Capture) -> dict[str, Any]:
    """Return the one line that was written."""
    [text] = capsys.readouterr().out.splitlines()
    line: dict[str, Any] = json.loads(text)
    return line


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        pytest.param({}, None, id="no header"),
        pytest.param(
            {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}, (TRACE_ID, SPAN_ID, True), id="traceparent, sampled"
        ),
        pytest.param(
            {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"}, (TRACE_ID, SPAN_ID, False), id="traceparent, unsampled"
        ),
        pytest.param(
            {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-03"}, (TRACE_ID, SPAN_ID, True), id="traceparent, more flags"
        ),
        pytest.param(
            {"traceparent": f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-adds"},
            (TRACE_ID, SPAN_ID, True),
            id="traceparent of a later version",
        ),
        pytest.param(
            {"x-cloud-trace-context": f"{TRACE_ID}/5;o=1"},
            (TRACE_ID, "0000000000000005", True),
            id="cloud trace, sampled",
        ),
        pytest.param(
            {"x-cloud-trace-context": f"{TRACE_ID}/5;o=0"},
            (TRACE_ID, "0000000000000005", False),
            id="cloud trace, unsampled",
        ),
        pytest.param(
            {"x-cloud-trace-context": f"{TRACE_ID.upper()}/5"},
            (TRACE_ID, "0000000000000005", False),
            id="cloud trace in upper case",
        ),
        pytest.param(
            {"x-cloud-trace-context": f"{TRACE_ID}/{2**64 - 1};o=1"},
            (TRACE_ID, "f" * 16, True),
            id="cloud trace, largest span",
        ),
        pytest.param(
            {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "x-cloud-trace-context": f"{'0' * 31}1/5;o=0"},
            (TRACE_ID, SPAN_ID, True),
            id="traceparent wins",
        ),
        pytest.param(
            {"traceparent": "broken", "x-cloud-trace-context": f"{TRACE_ID}/5;o=1"},
            (TRACE_ID, "0000000000000005", True),
            id="traceparent malformed, cloud trace valid",
        ),
    ],
)
def test_trace_is_parsed_from_headers(headers: Mapping[str, str], trace: tuple[str, str, bool] | None) -> None:
    parsed = Trace.from_headers(headers)

    assert (parsed and (parsed.trace_id, parsed.span_id, parsed.sampled)) == trace


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": ""},
        {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}"},
        {"traceparent": f"00-{TRACE_ID.upper()}-{SPAN_ID}-01"},
        {"traceparent": f"00-{TRACE_ID[1:]}-{SPAN_ID}-01"},
        {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01\n"},
        {"traceparent": f' 00-{TRACE_ID}-{SPAN_ID}-01", "severity": "EMERGENCY'},
        {"x-cloud-trace-context": "1/2/3"},
        {"x-cloud-trace-context": f"{TRACE_ID}/{2**64};o=1"},
        {"x-cloud-trace-context": f"{TRACE_ID}/x"},
        {"x-cloud-trace-context": f"{TRACE_ID[:-1]}/5"},
    ],
    ids=str,
)
def test_malformed_trace_headers_give_no_trace(headers: Mapping[str, str]) -> None:
    assert Trace.from_headers(headers) is None


@pytest.mark.parametrize(
    ("project", "name"),
    [("p", f"projects/p/traces/{TRACE_ID}"), ("", TRACE_ID)],
    ids=["project", "no project"],
)
def test_line_links_to_its_trace_in_the_project(project: str, name: str, capsys: Capture) -> None:
    configure_logging([LOGGER.name], project=project)

    write("hello", trace=SAMPLED)

    assert written_line(capsys) == {
        "severity": "INFO",
        "message": "hello",
        "logging.googleapis.com/trace": name,
        "logging.googleapis.com/spanId": SPAN_ID,
        "logging.googleapis.com/trace_sampled": True,
    }


def test_fields_come_after_message_trace_and_labels_in_their_order(capsys: Capture) -> None:
    write("m", trace=SAMPLED, verdict="done", tenant_id="t", status=200)

    assert list(written_line(capsys)) == [
        "severity",
        "message",
        "logging.googleapis.com/trace",
        "logging.googleapis.com/spanId",
        "logging.googleapis.com/trace_sampled",
        "logging.googleapis.com/labels",
        "verdict",
        "tenant_id",
        "status",
    ]


def test_only_fields_that_are_none_are_left_out(capsys: Capture) -> None:
    write("m", none=None, zero=0, no=False, empty="", nothing={})

    assert written_line(capsys) == {
        "severity": "INFO",
        "message": "m",
        "zero": 0,
        "no": False,
        "empty": "",
        "nothing": {},
    }


def test_tenant_id_becomes_a_label_too(capsys: Capture) -> None:
    write("m", tenant_id="tenant-001")

    line = written_line(capsys)
    assert line["tenant_id"] == "tenant-001"
    assert line["logging.googleapis.com/labels"] == {"tenant_id": "tenant-001"}


@pytest.mark.parametrize(
    "text", ["two\nlines", "\u2028", '"quoted"', "\x00\x1b[31m", "größe 苗", "\ud800", "", "100 % %s"], ids=ascii
)
def test_any_text_is_written_as_one_line_of_utf_8(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="utf-8"))

    fields: dict[str, Any] = {"field": text, "logging.googleapis.com/labels": None}
    LOGGER.info(text, extra={"json_fields": fields})

    written = buffer.getvalue()
    assert (written.count(b"\n"), written[-1:]) == (1, b"\n")
    assert json.loads(written)["message"] == json.loads(written)["field"] == text


class Writes(io.StringIO):
    """A stream that keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        self.calls.append(text)
        return super().write(text)


def test_line_is_written_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Writes()
    monkeypatch.setattr(sys, "stdout", stream)

    write("m", field={"a": [1, 2]})

    [written] = stream.calls
    assert written.endswith("}\n")


def test_lines_of_many_threads_are_not_mixed(capsys: Capture) -> None:
    def write_many(number: int) -> None:
        for _ in range(50):
            write("x" * 2000, number=number)

    threads = [threading.Thread(target=write_many, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 400
    assert all(len(json.loads(each)["message"]) == 2000 for each in lines)


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("DEBUG", ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ("INFO", ["INFO", "WARNING", "ERROR"]),
        ("WARNING", ["WARNING", "ERROR"]),
        ("ERROR", ["ERROR"]),
    ],
)
def test_lines_below_the_level_are_not_written(level: str, written: list[str], capsys: Capture) -> None:
    configure_logging([LOGGER.name], level=level)

    for each in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        write("m", each)

    assert [json.loads(each)["severity"] for each in capsys.readouterr().out.splitlines()] == written


def test_configuring_twice_writes_each_line_once(capsys: Capture) -> None:
    configure_logging([LOGGER.name])

    write("m")

    assert written_line(capsys)["message"] == "m"


def test_report_of_12_mb_is_cut_in_the_middle(capsys: Capture) -> None:
    report_error(LOGGER, ValueError("first" + "x" * 12_000_000 + "last"), {})

    message = written_line(capsys)["message"]
    assert len(message) < MAX_REPORT_CHARACTERS
    assert message.startswith("ValueError: first")
    assert message.rstrip().endswith("last")


def test_reported_error_has_its_stack_and_cause(capsys: Capture) -> None:
    try:
        try:
            {"a": 1}["key"]
        except KeyError as cause:
            raise ValueError("what happened") from cause
    except ValueError as error:
        fields = {"tenant_id": "t", "event_id": "e"}
        report_error(LOGGER, error, fields, trace=SAMPLED, service="vision")

    line = written_line(capsys)
    assert line["severity"] == "ERROR"
    assert line["@type"].endswith("clouderrorreporting.v1beta1.ReportedErrorEvent")
    assert line["serviceContext"] == {"service": "vision"}
    assert line["message"].startswith("Traceback (most recent call last)")
    assert "KeyError: 'key'" in line["message"]
    assert line["message"].rstrip().endswith("ValueError: what happened")
    assert (line["tenant_id"], line["event_id"]) == ("t", "e")
    assert line["logging.googleapis.com/trace"] == TRACE_ID


@pytest.mark.parametrize(
    ("level", "severity"),
    [(logging.INFO, "INFO"), (logging.WARNING, "WARNING"), (logging.ERROR, "ERROR"), (logging.CRITICAL, "ERROR")],
    ids=logging.getLevelName,
)
def test_record_without_fields_names_its_logger(level: int, severity: str, capsys: Capture) -> None:
    LOGGER.log(level, "refresh of %s failed", "x")

    assert written_line(capsys) == {
        "severity": severity,
        "message": "refresh of x failed",
        "logger": LOGGER.name,
    }


def test_logged_exception_has_its_stack(capsys: Capture) -> None:
    try:
        {"a": 1}["key"]
    except KeyError:
        LOGGER.exception("it failed")

    line = written_line(capsys)
    assert "it failed" in line["message"]
    assert "KeyError" in line["message"]
