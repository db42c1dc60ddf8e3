"""The entry points that functions-framework serves, one a process."""

from functions.entry_points import process_message, process_request, process_upload

__all__ = ["process_message", "process_request", "process_upload"]
