"""The entry points that functions-framework serves, one a process."""

from functions.message import process_message
from functions.request import process_request
from functions.upload import process_upload

__all__ = ["process_message", "process_request", "process_upload"]
