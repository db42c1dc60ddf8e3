"""A source file of functions for the stack's tests: they log each request, and answer with the status ANSWER."""

import textwrap
from pathlib import Path

import pytest

SOURCE = r"""
    import json
    import os
    import sys
    import time

    import functions_framework


    def record(request):
        line = {"severity": "INFO", "message": "recorded", "at": time.time(), "instance": os.getpid()}
        line |= {"headers": dict(request.headers), "body": request.get_data(as_text=True)}
        sys.stdout.write(json.dumps(line) + "\n")  # one write: other threads write too
        return "", int(os.environ.get("ANSWER", "200"))


    @functions_framework.http
    def process_upload(request):
        return record(request)


    @functions_framework.http
    def process_message(request):
        return record(request)


    @functions_framework.http
    def process_request(request):
        return record(request)
"""


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "main.py"
    path.write_text(textwrap.dedent(SOURCE), encoding="utf-8")
    return path
