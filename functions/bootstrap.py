"""Builds the controller of an instance, once, when it is imported.

Makes no client and starts no thread. The workers' fork server starts beside it, and imports in the meantime.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from functions.app import App
from shared.cloud.error_topic import ErrorTopic
from shared.cloud.object_store import ObjectStore
from shared.cloud.tenant_store import Store
from shared.config import Config
from shared.ml.model_cache import ModelCache
from shared.ml.model_checks import ModelLimits
from shared.pipeline.compute import InProcess
from shared.pipeline.job import Computer
from shared.pipeline.runner import PipelineRunner
from shared.pipeline.worker_computer import WorkerComputer
from shared.runtime.logs import configure_logging
from shared.runtime.machine import available_cpus, available_memory
from shared.vision.images.codec import ignore_pillow_warnings

PARENT_BYTES: Final = 384 * 2**20  # for the process that answers, which holds files on their way
MEMORY_SHARE: Final = 0.9  # of the rest that workers may have; the kernel and page tables need some too
MIN_WORKER_BYTES: Final = 384 * 2**20


def build_app(config: Config) -> App:
    """Configure logging, warnings and the model cache, and connect the parts of an instance."""
    configure_logging(("functions", "shared"), level=config.log_level, project=config.project)
    ignore_pillow_warnings()
    store = ObjectStore(project=config.project or None)
    return App(
        config,
        pipeline=PipelineRunner(store, config, computer_of(config, store)),
        error_topic=ErrorTopic(config.error_topic, project=config.project),
    )


def computer_of(config: Config, store: Store) -> Computer:
    """Return what computes in this instance: worker processes, or this process where there are none."""
    workers = available_cpus() if config.workers < 0 else config.workers
    if workers and sys.platform == "linux":
        memory_bytes = max(MIN_WORKER_BYTES, int((available_memory() - PARENT_BYTES) * MEMORY_SHARE) // workers)
        return WorkerComputer(store, config, workers=workers, memory_bytes=memory_bytes)
    ModelCache.configure(
        store,
        bucket=config.gcs_bucket,
        threads=config.ort_threads,
        refresh_s=config.model_refresh_s,
        limits=ModelLimits.of(config),
        cache_bytes=config.model_cache_bytes,
    )
    return InProcess(config)


APP: Final = build_app(Config.from_environment(os.environ))
