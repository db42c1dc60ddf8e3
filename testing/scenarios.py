"""What events ask for and what becomes of them when nothing fails, with every call that is made on the way."""

from dataclasses import dataclass

from local.trigger import MESSAGE, UPLOAD
from testing import models
from testing.pictures import picture

PATH = "a.jpg"
PIPELINES = {"mine": {"steps": [{"step": "detect", "options": {"confidence_threshold": 0.85}}]}}


@dataclass(frozen=True)
class Story:
    """`calls`: each made once. `ends`: the verdict, and of a rejected one the status it is published with.

    `earlier`: the event of another upload of the same name is done before, with the same instance if that is
    `function`. `asks`: attributes of the message that asks; without one it is the upload that does.
    """

    calls: tuple[str, ...]
    ends: str = "done"
    status: str = ""
    counts: tuple[tuple[str, int], ...] = (("plant", 1), ("tray", 1))
    has_model: bool = True
    image: bytes = picture()
    earlier: bool = False
    asks: tuple[tuple[str, str], ...] | None = None

    @property
    def function(self):
        return UPLOAD if self.asks is None else MESSAGE

    def prepare(self, cloud, tenant_id):
        """All that is there before the event."""
        if self.has_model:
            cloud.put_model(tenant_id, models.detect())
        if self.earlier:
            cloud.put_pipelines(tenant_id, PIPELINES)
            cloud.upload(tenant_id, PATH, picture(colour="black"))

    def begin(self, cloud, tenant_id):
        if self.asks is None:
            cloud.upload(tenant_id, PATH, self.image)
        else:
            cloud.ask(tenant_id, PATH, **dict(self.asks))


STORIES = {
    "an upload": Story(
        ("read pipelines", "stat result", "read image", "read model", "write picture", "write result"),
    ),
    "a second upload": Story(
        (
            *("stat pipelines", "stat result", "read image", "stat model"),
            *("stat picture", "write picture", "write result"),
        ),
        earlier=True,
    ),
    "other work": Story(
        (
            *("stat image", "read pipelines", "stat result", "stat model"),
            *("read image", "read model", "stat picture", "write picture", "write result"),
        ),
        earlier=True,
        asks=(("pipeline", "mine"),),
        counts=(),
    ),
    "a duplicate": Story(
        ("stat image", "read pipelines", "stat result", "stat model"),
        "duplicate",
        earlier=True,
        asks=(),
        counts=(),
    ),
    "no model": Story(
        ("read pipelines", "stat result", "read image", "read model", "publish"),
        "rejected",
        "400",
        has_model=False,
    ),
    "no image": Story(
        ("read pipelines", "stat result", "read image", "publish"), "rejected", "415", image=b"no image"
    ),
}
