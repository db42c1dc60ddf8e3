"""The triggers of the functions: which topic's messages become which event of which function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from local.eventarc import CloudEvent, message_event, upload_event
from local.resource_names import ResourceNames

UPLOAD, MESSAGE, REQUEST = TARGETS = ("process_upload", "process_message", "process_request")


@dataclass(frozen=True)
class Trigger:
    """An Eventarc trigger: a push subscription of a topic, and the conversion of its pushes."""

    function: str
    topic: str
    subscription: str
    to_event: Callable[[bytes], CloudEvent | None]


def triggers(names: ResourceNames) -> list[Trigger]:
    """Return the triggers of process_upload and process_message; process_request is called over HTTP."""
    message = partial(message_event, topic=names.image_topic)
    return [
        Trigger(UPLOAD, names.upload_topic, names.upload_subscription, upload_event),
        Trigger(MESSAGE, names.image_topic, names.image_subscription, message),
    ]
