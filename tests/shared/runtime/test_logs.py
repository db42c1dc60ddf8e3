"""Log lines as Cloud Logging and Error Reporting read them."""

import io
import json
import logging
import sys
import threading

import pytest

from shared.runtime.logs import Log, LogHandler, Trace

ID, SPAN = "5cbe6e3a9a7f4b4e8a0d5c1d2b3f4a5e", "1f2e3d4c5b6a7980"


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ({}, None),
        ({"traceparent": f"00-{ID}-{SPAN}-01"}, (ID, SPAN, True)),
        ({"traceparent": f"00-{ID}-{SPAN}-00"}, (ID, SPAN, False)),
        ({"traceparent": f"00-{ID}-{SPAN}-03"}, (ID, SPAN, True)),
        ({"traceparent": f"cc-{ID}-{SPAN}-01-what-the-future-adds"}, (ID, SPAN, True)),
        ({"x-cloud-trace-context": f"{ID}/5;o=1"}, (ID, "0000000000000005", True)),
        ({"x-cloud-trace-context": f"{ID}/5;o=0"}, (ID, "0000000000000005", False)),
        ({"x-cloud-trace-context": f"{ID.upper()}/5"}, (ID, "0000000000000005", False)),
        ({"x-cloud-trace-context": f"{ID}/{2**64 - 1};o=1"}, (ID, "f" * 16, True)),
        (
            {"traceparent": f"00-{ID}-{SPAN}-01", "x-cloud-trace-context": f"{'0' * 31}1/5;o=0"},
            (ID, SPAN, True),
        ),
        ({"traceparent": "broken", "x-cloud-trace-context": f"{ID}/5;o=1"}, (ID, "0000000000000005", True)),
    ],
)
def test_the_trace_that_a_request_belongs_to(headers, trace):
    found = Trace.from_headers(headers)
    assert (found and (found.trace_id, found.span_id, found.sampled)) == trace


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": ""},
        {"traceparent": f"00-{ID}-{SPAN}"},
        {"traceparent": f"00-{ID.upper()}-{SPAN}-01"},
        {"traceparent": f"00-{ID[1:]}-{SPAN}-01"},
        {"traceparent": f"00-{ID}-{SPAN}-01\n"},
        {"traceparent": f' 00-{ID}-{SPAN}-01", "severity": "EMERGENCY'},
        {"x-cloud-trace-context": "1/2/3"},
        {"x-cloud-trace-context": f"{ID}/{2**64};o=1"},
        {"x-cloud-trace-context": f"{ID}/x"},
        {"x-cloud-trace-context": f"{ID[:-1]}/5"},
    ],
)
def test_a_header_that_is_no_trace_s_is_none(headers):
    assert Trace.from_headers(headers) is None


@pytest.mark.parametrize(("project", "name"), [("p", f"projects/p/traces/{ID}"), ("", ID)])
def test_a_line_names_its_trace_as_logging_wants_it(project, name, capsys):
    Log(project=project).write("INFO", "hello", trace=Trace(ID, SPAN, sampled=True))
    assert line(capsys) == {
        "severity": "INFO",
        "message": "hello",
        "logging.googleapis.com/trace": name,
        "logging.googleapis.com/spanId": SPAN,
        "logging.googleapis.com/trace_sampled": True,
    }


def line(capsys):
    [text] = capsys.readouterr().out.splitlines()
    return json.loads(text)


def test_fields_that_are_none_are_left_out_and_others_are_not(capsys):
    Log().write("INFO", "m", none=None, zero=0, no=False, empty="", nothing={})
    assert line(capsys) == {"severity": "INFO", "message": "m", "zero": 0, "no": False, "empty": "", "nothing": {}}


def test_the_tenant_is_a_label_too(capsys):
    Log().write("INFO", "m", tenant_id="tenant-001")
    found = line(capsys)
    assert (found["tenant_id"], found["logging.googleapis.com/labels"]) == (
        "tenant-001",
        {"tenant_id": "tenant-001"},
    )


@pytest.mark.parametrize("text", ["two\nlines", "\u2028", '"quoted"', "\x00\x1b[31m", "größe 苗", "\ud800", ""])
def test_whatever_the_text_it_is_one_line(text, monkeypatch):
    """In UTF-8, as the platform's standard output is."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    Log().write("INFO", text, field=text, **{"logging.googleapis.com/labels": None})
    out.flush()
    written = out.buffer.getvalue()
    assert (written.count(b"\n"), written[-1:]) == (1, b"\n")
    assert json.loads(written)["message"] == json.loads(written)["field"] == text


class Writes(io.StringIO):
    def __init__(self):
        super().__init__()
        self.calls = []

    def write(self, text):
        self.calls.append(text)
        return super().write(text)


def test_a_line_is_one_write(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Writes())
    Log().write("INFO", "m", field={"a": [1, 2]})
    [written] = sys.stdout.calls
    assert written.endswith("}\n")


def test_lines_of_many_threads_stay_whole(capsys):
    log = Log()

    def write(number):
        for _ in range(50):
            log.write("INFO", "x" * 2000, number=number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
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
def test_what_is_less_severe_than_the_level_is_not_written(level, written, capsys):
    log = Log(level=level)
    for severity in ("DEBUG", "INFO", "WARNING", "ERROR"):
        log.write(severity, "m")
    assert [json.loads(each)["severity"] for each in capsys.readouterr().out.splitlines()] == written


def test_an_error_is_reported_with_its_stack_and_its_cause(capsys):
    try:
        try:
            {}["key"]
        except KeyError as cause:
            raise ValueError("what happened") from cause
    except ValueError as error:
        Log(service="vision").report(error, trace=Trace(ID, SPAN, sampled=True), tenant_id="t", event_id="e")
    found = line(capsys)
    assert found["severity"] == "ERROR"
    assert found["@type"].endswith("clouderrorreporting.v1beta1.ReportedErrorEvent")
    assert found["serviceContext"] == {"service": "vision"}
    assert found["message"].startswith("Traceback (most recent call last)")
    assert "KeyError: 'key'" in found["message"]
    assert found["message"].rstrip().endswith("ValueError: what happened")
    assert (found["tenant_id"], found["event_id"]) == ("t", "e")
    assert found["logging.googleapis.com/trace"] == ID


@pytest.fixture
def logger():
    logger = logging.getLogger("tests.of.the.handler")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = LogHandler(Log())
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("level", "severity"),
    [(logging.INFO, "INFO"), (logging.WARNING, "WARNING"), (logging.ERROR, "ERROR"), (logging.CRITICAL, "ERROR")],
)
def test_what_modules_say_through_logging_becomes_such_a_line(level, severity, logger, capsys):
    logger.log(level, "refresh of %s failed", "x")
    assert line(capsys) == {
        "severity": severity,
        "message": "refresh of x failed",
        "logger": "tests.of.the.handler",
    }


def test_an_exception_that_is_logged_brings_its_stack(logger, capsys):
    try:
        {}["key"]
    except KeyError:
        logger.exception("it failed")
    found = line(capsys)
    assert "it failed" in found["message"]
    assert "KeyError" in found["message"]
