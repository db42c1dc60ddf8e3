"""What wakes which function, as two Eventarc triggers would say it. It delivers nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from local.eventarc import CloudEvent, message_event, upload_event
from local.resource_names import ResourceNames

UPLOAD, MESSAGE, REQUEST = TARGETS = ("process_upload", "process_message", "process_request")


@dataclass(frozen=True)
class Trigger:
    """`subscription` pushes what is published to `topic`; `envelope` makes the function's event of it."""

    function: str
    topic: str
    subscription: str
    envelope: Callable[[bytes], CloudEvent | None]


def triggers(names: ResourceNames) -> list[Trigger]:
    message = partial(message_event, topic=names.image_topic)
    return [
        Trigger(UPLOAD, names.upload_topic, names.upload_subscription, upload_event),
        Trigger(MESSAGE, names.image_topic, names.image_subscription, message),
    ]
