"""Scenarios: an event, what exists before it, every call that it makes, and its outcome if nothing fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from local.trigger import MESSAGE, UPLOAD
from testing import models
from testing.faulty_stack import FaultyStack
from testing.pictures import picture

PATH: Final = "a.jpg"
PIPELINES: Final = {"mine": {"steps": [{"step": "detect", "options": {"confidence_threshold": 0.85}}]}}


@dataclass(frozen=True)
class Scenario:
    """`calls` are made once each. A rejected event is published with `status`.

    With `follows_upload` another upload under the same name is processed before, by the same instance if that
    is `function`. `message` has the attributes of the message that requests the image; None: the event is that
    of the upload itself.
    """

    calls: tuple[str, ...]
    verdict: str = "done"
    status: str = ""
    counts: tuple[tuple[str, int], ...] = (("plant", 1), ("tray", 1))
    has_model: bool = True
    image: bytes = picture()
    follows_upload: bool = False
    message: tuple[tuple[str, str], ...] | None = None

    @property
    def function(self) -> str:
        return UPLOAD if self.message is None else MESSAGE

    @property
    def pipeline(self) -> str:
        return dict(self.message or ()).get("pipeline", "detect")

    def prepare(self, cloud: FaultyStack, tenant_id: str) -> None:
        """Create what exists before the event."""
        if self.has_model:
            cloud.put_model(tenant_id, models.detect())
        if self.follows_upload:
            cloud.put_pipelines(tenant_id, PIPELINES)
            cloud.upload(tenant_id, PATH, picture(colour="black"))

    def trigger(self, cloud: FaultyStack, tenant_id: str) -> None:
        """Cause the event."""
        if self.message is None:
            cloud.upload(tenant_id, PATH, self.image)
        else:
            cloud.publish_request(tenant_id, PATH, **dict(self.message))


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "an upload": Scenario(
        ("read pipelines", "stat result", "read image", "read model", "write picture", "write result"),
    ),
    "a second upload": Scenario(
        (
            *("stat pipelines", "stat result", "read image", "stat model"),
            *("stat picture", "write picture", "write result"),
        ),
        follows_upload=True,
    ),
    "another pipeline": Scenario(
        (
            *("stat image", "read pipelines", "stat result", "stat model"),
            *("read image", "read model", "stat picture", "write picture", "write result"),
        ),
        follows_upload=True,
        message=(("pipeline", "mine"),),
        counts=(),
    ),
    "a duplicate": Scenario(
        ("stat image", "read pipelines", "stat result", "stat model"),
        "duplicate",
        follows_upload=True,
        message=(),
        counts=(),
    ),
    "no model": Scenario(
        ("read pipelines", "stat result", "read model", "publish"),
        "rejected",
        "400",
        has_model=False,
    ),
    "no image": Scenario(
        ("read pipelines", "stat result", "read model", "read image", "publish"),
        "rejected",
        "415",
        image=b"no image",
    ),
}
