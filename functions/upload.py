"""process_upload: an object landed in the upload bucket."""

from __future__ import annotations

import flask
import functions_framework

from functions.app import APP


@functions_framework.http
def process_upload(request: flask.Request) -> flask.Response:
    """Served as `http`, which keeps control of the status: a `cloud_event` answers 200 whatever it returns."""
    return APP.answer_event(request)
