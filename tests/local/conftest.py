"""A source of functions for the stack's own tests: they say what they were given and answer what they are told."""

import textwrap

import pytest

SOURCE = r"""
    import json
    import os
    import sys
    import time

    import functions_framework


    def told(request):
        line = {"severity": "INFO", "message": "told", "at": time.time(), "instance": os.getpid()}
        line |= {"headers": dict(request.headers), "body": request.get_data(as_text=True)}
        sys.stdout.write(json.dumps(line) + "\n")  # in one piece: other threads write as well
        return "", int(os.environ.get("ANSWER", "200"))


    @functions_framework.http
    def process_upload(request):
        return told(request)


    @functions_framework.http
    def process_message(request):
        return told(request)


    @functions_framework.http
    def process_request(request):
        return told(request)
"""


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "main.py"
    path.write_text(textwrap.dedent(SOURCE), encoding="utf-8")
    return path
