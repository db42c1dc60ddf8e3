"""The three functions that functions-framework serves.

All are `http` functions: a `cloud_event` function answers 200 whatever it returns, so it could not ask for
another delivery with 503.
"""

from __future__ import annotations

import flask
import functions_framework

from functions.app import APP


@functions_framework.http
def process_upload(request: flask.Request) -> flask.Response:
    """Process an object that landed in the upload bucket."""
    return APP.answer_event(request)


@functions_framework.http
def process_message(request: flask.Request) -> flask.Response:
    """Process an image that a Pub/Sub message asks for."""
    return APP.answer_event(request)


@functions_framework.http
def process_request(request: flask.Request) -> flask.Response:
    """Process an image that an HTTP caller asks for, and answer with the result."""
    return APP.answer_request(request)
