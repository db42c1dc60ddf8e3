"""A session made of one ONNX file, with what the file says of itself. Knows no tenant and no storage."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from shared.errors import InvalidModel
from shared.ml.export import Export, read_export
from shared.ml.layout import ModelType, Tensor


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Which file a model was made of: what a result says of its origin."""

    uri: str
    generation: int
    crc32c: str


_NOWHERE: Final = "/nowhere/that/is"


class OnnxModel:
    """May be run by many threads at once; keeps nothing of a run."""

    def __init__(self, data: bytes, *, model_type: ModelType, source: ModelSource, threads: int = 0) -> None:
        """Make a session from memory: nothing is written to disk.

        Args:
            data: the file.
            model_type: what it must be.
            source: where it came from.
            threads: of one run; 0: as many as this process has CPUs.

        Raises:
            InvalidModel: it is not a model of that type which can be served.
        """
        self.source = source
        self.size = len(data)
        try:
            self._session = ort.InferenceSession(data, _options(threads), providers=["CPUExecutionProvider"])
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

    def run(self, batch: npt.NDArray[np.floating]) -> list[npt.NDArray[np.floating]]:
        """Run (B, 3, H, W) in the export's dtype and give its outputs in their order.

        Raises:
            InvalidModel: the model fails on an input of the shape it declares, or answers in another shape.
        """
        try:
            outputs: list[npt.NDArray[np.floating]] = self._session.run(None, {self.export.input_name: batch})
        except Exception as error:
            raise InvalidModel("The model failed on its input") from error
        self.export.check(outputs, batch=len(batch))
        return outputs


def _give_back() -> None:
    """Return to the system what building a session has freed.

    That is more than the session keeps, and glibc would hold on to it: of ten models of 100 MB, 2.2 times their
    size stayed resident, and 1.1 with this. Elsewhere (macOS, musl) there is no such call, and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def available_cpus() -> int:
    """CPUs this process may use, not those of the host; ONNX Runtime would take the latter."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota() or allowed))


def _quota() -> int | None:
    """CPUs the container's cgroup grants, rounded up; None where there is no limit (cgroup v2: `cpu.max`)."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123 - one line, no path to speak of
            quota, period = file.read().split()
        return None if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Idle pools of other tenants' sessions would spin on the CPUs that this run needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.use_env_allocators", "1")  # see _share_arena
    # A file may say that its weights lie in another; from memory that is any file under the working directory.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    return options


def _tensor(node: ort.NodeArg) -> Tensor:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return Tensor(node.name, node.type, shape)


def _share_arena() -> None:
    """One arena for all sessions: each with its own would keep what its largest run took, 50 MB a model."""
    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(0, -1, -1, -1))  # no limit; ONNX Runtime's own steps


_share_arena()
