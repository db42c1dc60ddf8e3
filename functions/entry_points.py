"""Defines the three functions that functions-framework serves.

All are `http` functions. functions-framework answers 200 for a `cloud_event` function whatever it returns, so
such a function could not answer 503 to have an event delivered again.
"""

from __future__ import annotations

import flask
import functions_framework

from functions.bootstrap import APP


@functions_framework.http
def process_upload(request: flask.Request) -> flask.Response:
    """Process an object that was uploaded to the upload bucket."""
    return APP.answer_event(request)


@functions_framework.http
def process_message(request: flask.Request) -> flask.Response:
    """Process the image that a Pub/Sub message names."""
    return APP.answer_event(request)


@functions_framework.http
def process_request(request: flask.Request) -> flask.Response:
    """Process the image that an HTTP caller names, and answer with the result."""
    return APP.answer_request(request)
