"""A session made of one ONNX file, with what the file says of itself. Knows no tenant and no storage."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import Final
from weakref import WeakSet

import onnxruntime as ort

from shared.errors import DeadlineExceeded, InvalidModel
from shared.ml import bounded_run as runs
from shared.ml.export import Export, check_input, read_export
from shared.ml.model_checks import FOLDED_BYTES, check_model
from shared.ml.model_limits import ModelLimits
from shared.ml.output_layout import ModelType, TensorInfo
from shared.runtime.machine import available_cpus
from shared.vision.arrays import FloatArray, SizeHW


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Which file a model was made of: what a result says of its origin."""

    uri: str
    generation: int
    crc32c: str


_NOWHERE: Final = "/nowhere/that/is"
_MOST_SIZES: Final = 64  # of a dynamic model's canvas that are told apart
_READ_BYTES_S: Final = 50e9  # no memory is faster
_REFUSED_S: Final = 600.0  # a model whose run had to be ended is not run again for so long


class OnnxModel:
    """May be run by many threads at once; keeps nothing of a run. `weight`: about the bytes it keeps resident."""

    def __init__(
        self,
        data: bytes,
        *,
        model_type: ModelType,
        source: ModelSource,
        threads: int = 0,
        limits: ModelLimits = ModelLimits(),  # noqa: B008 - frozen
    ) -> None:
        """Make a session from memory: nothing is written to disk.

        Args:
            data: the file.
            model_type: what it must be.
            source: where it came from.
            threads: of one run; 0: as many as this process has CPUs.
            limits: a run that takes longer is ended; and whose operators it may use.

        Raises:
            InvalidModel: it is not a model of that type which can be served.
        """
        self.source = source
        self.size = len(data)
        self._max_run_s = limits.max_run_s
        self._fastest: dict[int, float] = {}  # seconds of the fastest run so far, by the canvas's px
        self._refusal: tuple[float, InvalidModel] | None = None
        self._holders: WeakSet[object] = WeakSet()
        admitted = check_model(data, domains=limits.domains)
        self.size_bytes = admitted.size_bytes
        check_input(model_type, admitted.metadata, admitted.inputs)
        try:
            self._session = ort.InferenceSession(
                data,
                _options(threads),
                providers=["CPUExecutionProvider"],
                disabled_optimizers=None if admitted.constant_folding_allowed else ["ConstantFolding"],
            )
        except Exception as error:
            raise InvalidModel("The file is not an ONNX model that can be loaded") from error
        self._session._model_bytes = None  # noqa: SLF001 - kept for a fallback to other providers: a second copy
        _give_back()
        self.export: Export = read_export(
            model_type,
            self._session.get_modelmeta().custom_metadata_map,
            [_tensor(each) for each in self._session.get_inputs()],
            [_tensor(each) for each in self._session.get_outputs()],
        )

    def __str__(self) -> str:
        return f"generation {self.source.generation}"

    def pin(self, holder: object) -> None:
        """In use for as long as `holder` lives."""
        self._holders.add(holder)

    @property
    def in_use(self) -> bool:
        return bool(self._holders)

    def run(self, batch: FloatArray) -> list[FloatArray]:
        """Run (B, 3, H, W) in the export's dtype and give its outputs in their order.

        Raises:
            InvalidModel: the model fails on an input of the shape it declares, or answers in another shape, or
                takes more time or memory than a run may, or did so minutes ago.
            DeadlineExceeded: the event's time is up.
        """
        if self._refusal and time.monotonic() < self._refusal[0]:
            raise InvalidModel(str(self._refusal[1]))
        started = time.monotonic()
        try:
            outputs = runs.run(self._session, {self.export.input_name: batch}, max_s=self._max_run_s)
        except (runs.RunTimeout, runs.RunOutOfMemory) as error:
            self._refusal = time.monotonic() + _REFUSED_S, error
            raise
        except DeadlineExceeded:
            raise
        except Exception as error:
            raise InvalidModel("The model failed on its input") from error
        self._note(batch.shape[2] * batch.shape[3], time.monotonic() - started)
        self.export.check(outputs, batch=len(batch))
        return outputs

    def min_runtime_s(self, canvas_hw: SizeHW) -> float:
        """Seconds that a run takes at least: those of the fastest so far, on a canvas as large or smaller.

        Before any, those of reading the weights.
        """
        smaller = [seconds for px, seconds in list(self._fastest.items()) if px <= canvas_hw[0] * canvas_hw[1]]
        return max(smaller, default=self.size / _READ_BYTES_S)

    def _note(self, px: int, seconds: float) -> None:
        if px in self._fastest or len(self._fastest) < _MOST_SIZES:
            self._fastest[px] = min(seconds, self._fastest.get(px, seconds))


def _give_back() -> None:
    """Return to the system what building a session has freed.

    That is more than the session keeps, and glibc would hold on to it: of ten models of 100 MB, 2.2 times their
    size stayed resident, and 1.1 with this. Elsewhere (macOS, musl) there is no such call, and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Idle pools of other tenants' sessions would spin on the CPUs that this run needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.use_env_allocators", "1")  # see share_arena
    options.add_session_config_entry("session.load_model_format", "ONNX")  # what was admitted is what is loaded
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(FOLDED_BYTES))
    # A file may say that its weights lie in another; from memory that is any file under the working directory.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    return options


def _tensor(node: ort.NodeArg) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return TensorInfo(node.name, node.type, shape)


runs.share_arena()
