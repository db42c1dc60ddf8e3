"""What wakes which function, as two Eventarc triggers would say it. It delivers nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from local.envelope import Envelope, message_envelope, upload_envelope
from local.layout import Layout

UPLOAD, MESSAGE, REQUEST = TARGETS = ("process_upload", "process_message", "process_request")


@dataclass(frozen=True)
class Trigger:
    """`subscription` pushes what is published to `topic`; `envelope` makes the function's event of it."""

    function: str
    topic: str
    subscription: str
    envelope: Callable[[bytes], Envelope | None]


def triggers(layout: Layout) -> list[Trigger]:
    message = partial(message_envelope, topic=layout.image_topic)
    return [
        Trigger(UPLOAD, layout.upload_topic, layout.upload_subscription, upload_envelope),
        Trigger(MESSAGE, layout.image_topic, layout.image_subscription, message),
    ]
