"""Define what the demo does: its scenes, its steps in their order, and the outcome that each step must have."""

import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

CANVAS_PX = 640  # longer side to which the sample models scale every image

Channel = Literal["upload", "message"]


@dataclass(frozen=True)
class SceneSpec:
    """A scene of a tenant's nursery to be drawn as an image file."""

    tenant_id: str
    path: str  # below uploads/{tenant_id}/; its suffix determines the format
    seed: int
    size_wh: tuple[int, int]
    plant_on_canvas_px: float  # from 24 to 44 plants are detected in one run; smaller ones need slicing
    close_up: str = ""  # if set, the file shows one plant in this state, cut out of the scene

    @property
    def plant_px(self) -> float:
        """The diameter of a plant in image px."""
        return self.plant_on_canvas_px * max(self.size_wh) / CANVAS_PX

    @property
    def content_type(self) -> str:
        """The media type of the file."""
        return content_type(self.path)

    @property
    def format(self) -> str:
        """The file's format as Pillow names it."""
        return self.content_type.removeprefix("image/").upper()


@dataclass(frozen=True)
class Step:
    """One event that the demo causes, and the outcome that it must have."""

    channel: Channel
    tenant_id: str
    path: str  # below uploads/{image_owner}/
    comment: str = ""  # shown on the page
    image_owner: str = ""  # the tenant whose image it is, if that is another one
    pipeline: str = ""  # the pipeline named in the message
    model_types: tuple[str, ...] = ("detect",)  # models named in the result
    excluded_from_metrics: bool = False  # an upload for a later message: its own result is not compared
    missing_model: str = "detect"  # the model that a model_not_found error must name
    options: Mapping[str, float] = field(default_factory=dict)
    request_id: str | None = None
    expected_verdict: str = "done"
    expected_status: int | None = None
    expected_error: str | None = None

    @property
    def object_name(self) -> str:
        """The name of the image in the upload bucket."""
        return f"uploads/{self.image_owner or self.tenant_id}/{self.path}"


@dataclass(frozen=True)
class Plan:
    """The steps of a demo in four phases.

    All scenes are uploaded. Then messages are sent about them, after one tenant has uploaded a new model. Then a
    tenant without models uploads its models, and two messages are sent for it. Everything in a tenant's folder of
    models is uploaded, its pipelines too.
    """

    scenes: tuple[SceneSpec, ...]  # of tenants that have models from the start
    late_scene: SceneSpec  # of the tenant that uploads its models last
    not_an_image: Step
    refreshed_tenant: str  # uploads its detector again before the messages are sent
    messages: tuple[Step, ...]

    @property
    def tenants(self) -> tuple[str, ...]:
        """The tenants that have models from the start."""
        return tuple(dict.fromkeys(scene.tenant_id for scene in self.scenes))

    @property
    def all_scenes(self) -> tuple[SceneSpec, ...]:
        """The scenes of all tenants."""
        return (*self.scenes, self.late_scene)

    @property
    def uploads(self) -> tuple[Step, ...]:
        """An upload of each scene, and of the file that is not an image."""
        scenes = (
            Step("upload", scene.tenant_id, scene.path, excluded_from_metrics=bool(scene.close_up))
            for scene in self.scenes
        )
        return (*scenes, self.upload_without_model, self.not_an_image)

    @property
    def upload_without_model(self) -> Step:
        """The upload of a tenant that has no model yet."""
        return Step(
            "upload",
            self.late_scene.tenant_id,
            self.late_scene.path,
            comment="uploaded before the tenant had a model",
            expected_verdict="rejected",
            expected_status=400,
            expected_error="model_not_found",
        )

    @property
    def message_with_model(self) -> Step:
        """The same image again, once the tenant has a model."""
        return Step(
            "message",
            self.late_scene.tenant_id,
            self.late_scene.path,
            comment="the same image again, now that the tenant has a model",
        )

    @property
    def message_without_segmenter(self) -> Step:
        """A message that needs a model of a type that the tenant does not have."""
        return Step(
            "message",
            self.late_scene.tenant_id,
            self.late_scene.path,
            comment="asks for segments, but the tenant has only a detector",
            pipeline="segment",
            expected_verdict="rejected",
            expected_status=400,
            expected_error="model_not_found",
            missing_model="segment",
        )


def content_type(path: str) -> str:
    """Return the media type of a file by its suffix."""
    suffix = PurePosixPath(path).suffix.lower()
    return "image/webp" if suffix == ".webp" else mimetypes.guess_type(path)[0] or "application/octet-stream"


def scene_specs(rows: Iterable[tuple[str, str, int, int, int, float, *tuple[str, ...]]]) -> tuple[SceneSpec, ...]:
    """Make specs of rows: tenant, path, seed, width, height, plant size on the canvas, optionally a close-up."""
    return tuple(
        SceneSpec(tenant_id, path, seed, (width, height), plant, *close_up)
        for tenant_id, path, seed, width, height, plant, *close_up in rows
    )


FULL_PLAN = Plan(
    scenes=scene_specs(
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
    late_scene=SceneSpec("tenant-003", "terrace.jpg", 11, (1600, 1200), 40),
    not_an_image=Step(
        "upload",
        "tenant-001",
        "delivery-note.jpg",
        comment="a text file named like a photograph",
        expected_verdict="rejected",
        expected_status=415,
        expected_error="unsupported_image",
    ),
    refreshed_tenant="tenant-002",
    messages=(
        Step(
            "message",
            "tenant-001",
            "north-field.jpg",
            comment="counts the plants of each bed with a pipeline of the tenant",
            pipeline="count_plants",
            model_types=("detect", "segment"),
        ),
        Step(
            "message",
            "tenant-001",
            "close-up.jpg",
            comment="classifies the health of one plant",
            pipeline="classify",
            model_types=("classify",),
        ),
        Step(
            "message",
            "tenant-002",
            "house-1/bench-a.jpg",
            comment="segments the trays",
            pipeline="segment",
            model_types=("segment",),
        ),
        Step(
            "message",
            "tenant-001",
            "bed-02.jpg",
            comment="the upload is done already: the result is not computed again",
            expected_verdict="duplicate",
        ),
        Step(
            "message",
            "tenant-001",
            "bed-01.jpg",
            comment="only detections with a high confidence",
            options={"confidence_threshold": 0.6},
        ),
        Step(
            "message",
            "tenant-002",
            "house-1/bench-c.jpg",
            comment="runs with the model that was uploaded since",
            request_id="demo-42",
        ),
        Step(
            "message",
            "tenant-002",
            "bed-01.jpg",
            comment="names an image of another tenant",
            image_owner="tenant-001",
            expected_verdict="rejected",
            expected_status=403,
            expected_error="tenant_mismatch",
        ),
    ),
)
