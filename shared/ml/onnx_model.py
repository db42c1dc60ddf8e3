"""An ONNX Runtime session of one model file, with its export's properties and its run times.

It knows neither tenants nor storage.
"""

from __future__ import annotations

import ctypes
import threading
import time
from dataclasses import dataclass
from typing import Final
from weakref import WeakSet

import onnxruntime as ort

from shared.errors import DeadlineExceeded, InvalidModel, shortage
from shared.ml import bounded_run
from shared.ml.export import Export, check_input, read_export
from shared.ml.model_checks import MAX_FOLDED_BYTES, ModelLimits, check_model
from shared.ml.negative_cache import NegativeCache
from shared.ml.output_layout import ModelType, TensorInfo
from shared.runtime.activity import activity
from shared.runtime.machine import available_cpus
from shared.vision.arrays import FloatArray, SizeHW

RUN_GRACE_S: Final = 2.0  # for ONNX Runtime to terminate a run, before its process is killed
RUN_FAILURE_COOLDOWN_S: Final = 600.0  # a model whose run exceeded a limit is not run again for so long
MAX_RUN_FAILURES: Final = 10_000  # that are remembered
_NO_EXTERNAL_DATA_DIR: Final = "/nowhere/that/is"
_MAX_CANVAS_SIZES: Final = 64  # for each of which a dynamic model's shortest run is kept
_MAX_MEMORY_BYTES_PER_S: Final = 50e9  # no memory is faster


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The stored object that a model was loaded from, as results name it."""

    uri: str
    generation: int
    crc32c: str


class RunFailures:
    """The models whose runs exceeded a limit within `RUN_FAILURE_COOLDOWN_S`, whether still loaded or not.

    Sessions that run on different numbers of threads fail separately.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._errors: NegativeCache[tuple[ModelSource, int]] = NegativeCache(
            lambda error: InvalidModel(str(error)), RUN_FAILURE_COOLDOWN_S, MAX_RUN_FAILURES
        )

    def add(self, source: ModelSource, threads: int, error: InvalidModel) -> None:
        with self._lock:
            self._errors.add((source, threads), error)

    def check(self, source: ModelSource, threads: int) -> None:
        """Check that no run of a model has failed within the cooldown.

        Raises:
            InvalidModel: One has; the message is that of its error.
        """
        with self._lock:
            error = self._errors.get((source, threads))
        if error:
            raise error


class OnnxModel:
    """A model that many threads may run concurrently.

    `size_bytes` is an estimate of the memory it keeps allocated, `file_bytes` the size of its file.
    """

    def __init__(
        self,
        data: bytes,
        *,
        model_type: ModelType,
        source: ModelSource,
        threads: int = 0,
        limits: ModelLimits = ModelLimits(),  # noqa: B008 - frozen
        run_failures: RunFailures | None = None,
    ) -> None:
        """Create a session from memory; nothing is written to disk.

        Args:
            data: The ONNX file.
            model_type: What the model must be.
            source: Where the file came from.
            threads: Threads of one run; 0 is the number of this process's CPUs.
            limits: The longest run, and the domains whose operators the model may use.
            run_failures: Where failed runs are remembered beyond this object.

        Raises:
            InvalidModel: The file is no usable model of that type.
            MemoryError: There is no memory for its session.
        """
        self.source = source
        self._model_type = model_type
        self.file_bytes = len(data)
        self._max_run_s = limits.max_run_s
        self._shortest_run_s: dict[int, float] = {}  # by the canvas's area in px
        self._threads = threads
        self._run_failures = run_failures or RunFailures()
        self._users: WeakSet[object] = WeakSet()
        checked = check_model(data, domains=limits.domains)
        self.size_bytes = checked.size_bytes
        # `read_export` checks the input again, as ONNX Runtime sees it. Checked here too, a file of the wrong type
        # is rejected before a session is created for it, with a message that says so.
        check_input(model_type, checked.metadata, checked.inputs)
        try:
            self._session = ort.InferenceSession(
                data,
                _options(threads),
                providers=["CPUExecutionProvider"],
                disabled_optimizers=None if checked.constant_folding_allowed else ["ConstantFolding"],
                enable_fallback=0,  # which would print the error, and load the file once more
            )
            metadata = self._session.get_modelmeta().custom_metadata_map
            inputs = [_tensor(each) for each in self._session.get_inputs()]
            outputs = [_tensor(each) for each in self._session.get_outputs()]
        except Exception as error:
            if bounded_run.is_out_of_memory(error):
                raise MemoryError from error
            message = f"The file is not a model that ONNX Runtime {ort.__version__} can load"
            raise shortage(error) or InvalidModel(message) from error
        # ONNX Runtime keeps the file for a fallback to other providers: a second copy that is never used.
        self._session._model_bytes = None  # noqa: SLF001 - there is no other way to release it
        _trim_heap()
        self.export: Export = read_export(model_type, metadata, inputs, outputs)

    def __str__(self) -> str:
        return f"generation {self.source.generation}"

    def pin(self, user: object) -> None:
        """Keep this model in the cache for as long as `user` exists."""
        self._users.add(user)

    @property
    def in_use(self) -> bool:
        return bool(self._users)

    def run(self, batch: FloatArray) -> list[FloatArray]:
        """Run a batch (B, 3, H, W) of the export's dtype, and return the outputs in their order.

        Raises:
            InvalidModel: The model fails on an input of the shape it declares, returns an output of another shape
                than it declares, exceeds a limit, or exceeded one within `RUN_FAILURE_COOLDOWN_S`.
            DeadlineExceeded: The event's deadline passed.
            InstanceExhausted: The instance has no memory or no thread left at the moment.
        """
        self._run_failures.check(self.source, self._threads)
        started = time.monotonic()
        try:
            with activity(f"model {self._model_type}", limit_s=self._max_run_s + RUN_GRACE_S):
                outputs = bounded_run.run(self._session, {self.export.input_name: batch}, max_s=self._max_run_s)
        except (bounded_run.RunTimeout, bounded_run.RunOutOfMemory) as error:
            self._run_failures.add(self.source, self._threads, error)
            raise
        except DeadlineExceeded:
            raise
        except Exception as error:
            raise shortage(error) or InvalidModel(
                f"The model failed on an input of shape {batch.shape}"
            ) from error
        self._record_run(batch.shape[2] * batch.shape[3], time.monotonic() - started)
        self.export.check(outputs, batch=len(batch))
        return outputs

    def min_runtime_s(self, canvas_hw: SizeHW) -> float:
        """Return the shortest time that a run can be expected to take.

        That is the shortest run so far on a canvas of at most this size; before any run, the time that reading the
        weights once takes at least.
        """
        area = canvas_hw[0] * canvas_hw[1]
        run_times_s = [seconds for px, seconds in list(self._shortest_run_s.items()) if px <= area]
        return max(run_times_s, default=self.file_bytes / _MAX_MEMORY_BYTES_PER_S)

    def _record_run(self, canvas_px: int, seconds: float) -> None:
        if canvas_px in self._shortest_run_s or len(self._shortest_run_s) < _MAX_CANVAS_SIZES:
            self._shortest_run_s[canvas_px] = min(seconds, self._shortest_run_s.get(canvas_px, seconds))


def _trim_heap() -> None:
    """Return memory that creating a session has freed to the operating system (malloc_trim).

    glibc would keep it, and it is more than the session keeps: ten models of 100 MB occupied 2.2 times their size
    without this call, and 1.1 times with it. macOS and musl have no such function; there nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Otherwise the idle thread pools of other sessions spin on the CPUs that this one's runs need.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.use_env_allocators", "1")  # `bounded_run.share_arena`
    options.add_session_config_entry("session.load_model_format", "ONNX")  # as it was checked
    options.add_session_config_entry(
        "optimization.constant_folding_max_output_size_in_bytes", str(MAX_FOLDED_BYTES)
    )
    # A model loaded from memory could otherwise name any file under the working directory as its weights.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_EXTERNAL_DATA_DIR)
    return options


def _tensor(node: ort.NodeArg) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return TensorInfo(node.name, node.type, shape)
