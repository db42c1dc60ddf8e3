"""Downloads an image and decodes it, at full resolution or no larger than the plan's models need it."""

from __future__ import annotations

from shared.cloud.tenant_store import TenantStore
from shared.config import Config
from shared.errors import ImageTooLarge
from shared.events import ImageVersion
from shared.ml.model_cache import ModelCache
from shared.pipeline.definitions import Plan
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import min_decode_size
from shared.runtime.event_record import stage
from shared.vision.images import codec


def read_image(
    store: TenantStore, image: ImageVersion, plan: Plan, config: Config, *, tenant_id: str
) -> ProcessingContext:
    """Return the context that the plan's first step starts from.

    With fast resampling and no step that needs full resolution, the models' canvases bound the decoded size. The
    models are loaded before the download then, so that a missing model is reported without reading the image.

    Raises:
        ObjectNotFound: This generation of the image does not exist (any more).
        ImageTooLarge: The file or the image exceeds the configured limits.
        InvalidImage: The file is damaged.
        UnsupportedImage: The file is of no accepted format.
        ModelNotFound, InvalidModel, StorageUnavailable: A model cannot be loaded, or storage failed.
    """
    exports = []
    if plan.resampling == "fast" and not plan.needs_full_resolution:
        exports = [
            ModelCache.get_model(tenant_id=tenant_id, model_type=model_type).export
            for model_type in plan.model_types
        ]
    with stage("download"):
        stored = store.read(image.name, generation=image.generation, max_bytes=config.max_image_bytes)
    if stored.data is None:
        raise ImageTooLarge(f"The image file exceeds the limit of {config.max_image_bytes} bytes")
    with stage("decode"):
        pixels, image_hw = codec.decode_downscaled(
            stored.data,
            max_pixels=config.max_image_pixels,
            min_size_hw=min_decode_size(exports) if exports else None,
        )
    return ProcessingContext(tenant_id=tenant_id, image=pixels, original_hw=image_hw, resampling=plan.resampling)
