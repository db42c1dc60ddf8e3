"""What the demo does, in which order, and how each thing must end. It draws, uploads and asks nothing itself."""

import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

CANVAS_PX = 640  # what the sample models see of a picture, whatever its size

Way = Literal["upload", "message"]


@dataclass(frozen=True)
class Picture:
    """A scene of a tenant's nursery, as a file of that tenant."""

    tenant_id: str
    path: str  # below uploads/{tenant_id}/; the suffix says the format
    seed: int
    size_wh: tuple[int, int]
    plant_on_canvas_px: float  # 24 to 44: many, and large enough to be seen once shrunk; less: to be sliced
    close_up: str = ""  # of one plant in this state, cut out of the scene

    @property
    def plant_px(self) -> float:
        return self.plant_on_canvas_px * max(self.size_wh) / CANVAS_PX

    @property
    def content_type(self) -> str:
        return content_type(self.path)

    @property
    def format(self) -> str:
        """As Pillow names it."""
        return self.content_type.removeprefix("image/").upper()


@dataclass(frozen=True)
class Ask:
    """One event, and how it must end."""

    by: Way
    tenant_id: str
    path: str  # below uploads/{owner}/
    note: str = ""  # for a person
    owner: str = ""  # whose image it is, if not the tenant's
    pipeline: str = ""  # as the message names it
    models: tuple[str, ...] = ("detect",)  # whose answers the result holds
    aside: bool = False  # an upload that is there to be asked about: what the default pipeline says is no matter
    lacks: str = "detect"  # the model whose lack is the error, if it is one
    options: Mapping[str, float] = field(default_factory=dict)
    request_id: str | None = None
    verdict: str = "done"
    status: int | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """The object in the upload bucket."""
        return f"uploads/{self.owner or self.tenant_id}/{self.path}"


@dataclass(frozen=True)
class Plan:
    """The chapters: uploads, then messages about them; then the model that came late, and its tenant again.

    A tenant's models are all that lie in its folder, and so are its pipelines.
    """

    pictures: tuple[Picture, ...]  # of tenants that have a model
    late: Picture  # of a tenant that has none yet
    not_an_image: Ask
    renewed: str  # the tenant that uploads a new generation of its model before the messages are sent
    messages: tuple[Ask, ...]

    @property
    def tenants(self) -> tuple[str, ...]:
        """Those that have a model from the start."""
        return tuple(dict.fromkeys(picture.tenant_id for picture in self.pictures))

    @property
    def scenes(self) -> tuple[Picture, ...]:
        return (*self.pictures, self.late)

    @property
    def uploads(self) -> tuple[Ask, ...]:
        """Every picture once, and the file that is none."""
        ours = (
            Ask("upload", picture.tenant_id, picture.path, aside=bool(picture.close_up))
            for picture in self.pictures
        )
        return (*ours, self.without_model, self.not_an_image)

    @property
    def without_model(self) -> Ask:
        return Ask(
            "upload",
            self.late.tenant_id,
            self.late.path,
            note="uploaded before the tenant had a model",
            verdict="rejected",
            status=400,
            error="model_not_found",
        )

    @property
    def with_model(self) -> Ask:
        return Ask(
            "message", self.late.tenant_id, self.late.path, note="asked for again, now that there is a model"
        )

    @property
    def without_segmenter(self) -> Ask:
        return Ask(
            "message",
            self.late.tenant_id,
            self.late.path,
            note="asks for segments: it has a detector, and nothing else",
            pipeline="segment",
            verdict="rejected",
            status=400,
            error="model_not_found",
            lacks="segment",
        )


def content_type(path: str) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    return "image/webp" if suffix == ".webp" else mimetypes.guess_type(path)[0] or "application/octet-stream"


def pictures(rows: Iterable[tuple[str, str, int, int, int, float, *tuple[str, ...]]]) -> tuple[Picture, ...]:
    """From rows of tenant, path, seed, width, height, the size of a plant on the canvas, and what is close up."""
    return tuple(
        Picture(tenant_id, path, seed, (width, height), plant, *close_up)
        for tenant_id, path, seed, width, height, plant, *close_up in rows
    )


FULL = Plan(
    pictures=pictures(
        (
            ("tenant-001", "north-field.jpg", 23, 4000, 3000, 7.68),
            ("tenant-001", "bed-01.jpg", 10, 640, 480, 42),
            ("tenant-001", "bed-02.jpg", 16, 1280, 960, 32),
            ("tenant-001", "phone/2027-05-03 08.41.jpg", 13, 1080, 1440, 36),
            ("tenant-001", "bed-03.png", 17, 1200, 900, 38),
            ("tenant-001", "phone/beet-süd.webp", 11, 1600, 1200, 32),
            ("tenant-001", "close-up.jpg", 10, 1280, 960, 100, "dry"),
            ("tenant-002", "house-1/bench-a.jpg", 11, 1920, 1440, 40),
            ("tenant-002", "house-1/bench-b.jpg", 14, 1200, 1600, 36),
            ("tenant-002", "house-1/bench-c.jpg", 15, 800, 600, 34),
            ("tenant-002", "house-2/tray & label.png", 13, 960, 720, 42),
            ("tenant-002", "house-2/bench-d.jpg", 10, 720, 1280, 32),
            ("tenant-002", "house-2/bench-e.webp", 16, 1440, 1080, 32),
        )
    ),
    late=Picture("tenant-003", "terrace.jpg", 11, (1600, 1200), 40),
    not_an_image=Ask(
        "upload",
        "tenant-001",
        "delivery-note.jpg",
        note="a text file with the name of a picture",
        verdict="rejected",
        status=415,
        error="unsupported_image",
    ),
    renewed="tenant-002",
    messages=(
        Ask(
            "message",
            "tenant-001",
            "north-field.jpg",
            note="counts the plants of each bed, by a pipeline of its own",
            pipeline="count_plants",
            models=("detect", "segment"),
        ),
        Ask(
            "message",
            "tenant-001",
            "close-up.jpg",
            note="asks how the plant is",
            pipeline="classify",
            models=("classify",),
        ),
        Ask(
            "message",
            "tenant-002",
            "house-1/bench-a.jpg",
            note="asks where the trays are",
            pipeline="segment",
            models=("segment",),
        ),
        Ask(
            "message",
            "tenant-001",
            "bed-02.jpg",
            note="attributes only: already done, nothing is computed twice",
            verdict="duplicate",
        ),
        Ask(
            "message",
            "tenant-001",
            "bed-01.jpg",
            note="only what the model is sure of",
            options={"confidence_threshold": 0.6},
        ),
        Ask(
            "message",
            "tenant-002",
            "house-1/bench-c.jpg",
            note="attributes only: by the model that was uploaded meanwhile",
            request_id="demo-42",
        ),
        Ask(
            "message",
            "tenant-002",
            "bed-01.jpg",
            note="asks for another tenant's image",
            owner="tenant-001",
            verdict="rejected",
            status=403,
            error="tenant_mismatch",
        ),
    ),
)
