"""process_request: a caller asks for an image over HTTP and waits for the result."""

from __future__ import annotations

import flask
import functions_framework

from functions.app import APP


@functions_framework.http
def process_request(request: flask.Request) -> flask.Response:
    return APP.answer_request(request)
