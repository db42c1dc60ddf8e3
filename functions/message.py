"""process_message: a publisher asks for an image by a Pub/Sub message."""

from __future__ import annotations

import flask
import functions_framework

from functions.app import APP


@functions_framework.http
def process_message(request: flask.Request) -> flask.Response:
    """Served as `http`, which keeps control of the status: a `cloud_event` answers 200 whatever it returns."""
    return APP.answer_event(request)
