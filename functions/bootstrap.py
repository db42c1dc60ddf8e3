"""Builds the controller of an instance, once, when it is imported. Makes no client and starts no thread."""

from __future__ import annotations

import os
from typing import Final

from functions.app import App
from shared.cloud.error_topic import ErrorTopic
from shared.cloud.object_store import ObjectStore
from shared.config import Config
from shared.ml.model_cache import ModelCache
from shared.ml.model_checks import ModelLimits
from shared.pipeline.runner import PipelineRunner
from shared.runtime.logs import configure_logging
from shared.vision.images.codec import ignore_pillow_warnings


def build_app(config: Config) -> App:
    """Configure logging, warnings and the model cache, and connect the parts of an instance."""
    configure_logging(("functions", "shared"), level=config.log_level, project=config.project)
    ignore_pillow_warnings()
    store = ObjectStore(project=config.project or None)
    ModelCache.configure(
        store,
        bucket=config.gcs_bucket,
        threads=config.ort_threads,
        refresh_s=config.model_refresh_s,
        limits=ModelLimits.of(config),
        cache_bytes=config.model_cache_bytes,
    )
    return App(
        config,
        pipeline=PipelineRunner(store, config),
        error_topic=ErrorTopic(config.error_topic, project=config.project),
    )


APP: Final = build_app(Config.from_environment(os.environ))
