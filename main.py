"""Exports the entry points that functions-framework serves, one for each deployed function."""

from functions.entry_points import process_message, process_request, process_upload

__all__ = ["process_message", "process_request", "process_upload"]
