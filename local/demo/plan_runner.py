"""Run a plan on a local stack: upload models and images, send messages, and collect the outcomes.

The outcomes are checked elsewhere, in `expectations`.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.api_core.exceptions import NotFound

from local.demo.bed_counts import BedCount, count_per_bed
from local.demo.comparison import Comparison, compare
from local.demo.plan import Plan, Step, content_type
from local.demo.progress import Progress
from local.demo.scene_files import SceneFile
from local.demo.step_outcome import ErrorMessage, StepOutcome, Submission
from local.stack import Stack
from local.trigger import MESSAGE, UPLOAD

POLL_INTERVAL_S = 0.02
MAX_CONCURRENT_STEPS = max(2, os.cpu_count() or 1)  # more would wait for a CPU, and their timings include it
CALL_TIMEOUT_S = 20.0
TEXT_FILE = b"200 trays of lettuce, 40 of beet. Received with thanks.\n"


class PlanRunner:
    """Runs the steps of a plan on one stack."""

    def __init__(self, stack: Stack, files: Iterable[SceneFile], *, models: Path, timeout_s: float) -> None:
        """Set the folder of the models, and the time from now in which all steps must end."""
        self._stack = stack
        self._files = {(file.spec.tenant_id, file.spec.path): file for file in files}
        self._models = models
        self._deadline = time.monotonic() + timeout_s
        self._generations: dict[str, dict[str, int]] = {}  # of each tenant's models, by type
        self._errors: list[ErrorMessage] = []

    def run(self, plan: Plan, show: Callable[[Sequence[StepOutcome]], None]) -> list[StepOutcome]:
        """Run all steps, and return their outcomes in the order of the plan.

        Args:
            plan: The steps.
            show: Is called with the outcomes of the plan's first half, and with those of the second.
        """
        for tenant_id in plan.tenants:
            self._upload_models(tenant_id)
        outcomes = self._run_steps("processing uploads", plan.uploads)
        self._upload(plan.refreshed_tenant, "detect.onnx")
        outcomes += self._run_steps("processing messages", plan.messages)
        show(outcomes)
        self._upload_models(plan.late_scene.tenant_id)
        late = self._run_steps("processing a message for the new model", [plan.message_with_model])
        late += self._run_steps("processing a message for a missing model", [plan.message_without_segmenter])
        show(late)
        return outcomes + late

    def _upload_models(self, tenant_id: str) -> None:
        """Upload the files of the tenant's folder: its models, and its pipelines if it has any."""
        for path in sorted((self._models / tenant_id).iterdir()):
            if path.suffix in {".onnx", ".json"}:
                self._upload(tenant_id, path.name)

    def _upload(self, tenant_id: str, name: str) -> None:
        target = self._stack.storage.bucket(self._stack.names.models_bucket).blob(f"models/{tenant_id}/{name}")
        target.upload_from_filename(self._models / tenant_id / name, timeout=CALL_TIMEOUT_S)
        if name.endswith(".onnx"):
            self._generations.setdefault(tenant_id, {})[name.removesuffix(".onnx")] = int(target.generation)
        print(f"uploaded {name} of {tenant_id}: generation {target.generation}", flush=True)

    def _run_steps(self, title: str, steps: Sequence[Step]) -> list[StepOutcome]:
        outcomes = []
        with Progress(title, len(steps)) as progress:
            for outcome in self._completed(steps):
                step = outcome.step
                outcomes.append(self._collect(outcome))
                progress.step(f"{step.tenant_id} {step.path}: {outcome.verdict or 'no verdict in time'}")
        return sorted(outcomes, key=lambda outcome: steps.index(outcome.step))

    def _submit(self, step: Step) -> Submission:
        return self._submit_upload(step) if step.channel == "upload" else self._submit_message(step)

    def _submit_upload(self, step: Step) -> Submission:
        file = self._files.get((step.tenant_id, step.path))
        bucket = self._stack.names.upload_bucket
        target = self._stack.storage.bucket(bucket).blob(step.object_name)
        target.upload_from_string(
            file.data if file else TEXT_FILE,
            content_type=content_type(step.path),
            timeout=CALL_TIMEOUT_S,
        )
        return Submission(f"gs://{bucket}/{step.object_name}", image_generation=str(target.generation))

    def _submit_message(self, step: Step) -> Submission:
        uri = f"gs://{self._stack.names.upload_bucket}/{step.object_name}"
        body = json.dumps({"options": dict(step.options)}).encode() if step.options else b""
        attributes = {"tenant_id": step.tenant_id, "image": uri}
        if step.request_id:
            attributes["request_id"] = step.request_id
        if step.pipeline:
            attributes["pipeline"] = step.pipeline
        future = self._stack.publisher.publish(self._stack.names.image_topic, body, **attributes)
        return Submission(uri, event_id=future.result(timeout=CALL_TIMEOUT_S))

    def _completed(self, steps: Sequence[Step]) -> Iterator[StepOutcome]:
        """Yield each outcome as soon as its verdict is in the log, then the steps that have none in time."""
        queue = deque(steps)
        waiting: list[StepOutcome] = []
        while (queue or waiting) and time.monotonic() < self._deadline:
            while queue and len(waiting) < MAX_CONCURRENT_STEPS:
                step = queue.popleft()
                waiting.append(StepOutcome(step, self._submit(step)))
            self._stack.wait(POLL_INTERVAL_S)  # raises if the stack has ended
            lines = {name: self._stack.log_lines(name) for name in (UPLOAD, MESSAGE)}
            for outcome in tuple(waiting):
                log = lines[UPLOAD if outcome.step.channel == "upload" else MESSAGE]
                line = next((line for line in reversed(log) if _is_final(line, outcome.submission)), None)
                if line is not None:
                    waiting.remove(outcome)
                    yield _with_log_line(outcome, line)
        yield from waiting
        yield from (StepOutcome(step, Submission("")) for step in queue)

    def _collect(self, outcome: StepOutcome) -> StepOutcome:
        """Add the files in storage, the message on the error topic, and the comparison with the ground truth."""
        step = outcome.step
        prefix = f"results/{step.tenant_id}/{step.path}"
        result, annotated = self._download(f"{prefix}/result.json"), self._download(f"{prefix}/annotated.jpg")
        document = json.loads(result) if result else None
        rejected = outcome.verdict == "rejected"
        if rejected and document and document["event_id"] != outcome.event_id:
            document = None  # it is the result of an earlier step
        file = self._files.get((step.tenant_id, step.path))
        return replace(
            outcome,
            generations=dict(self._generations.get(step.tenant_id, {})),
            document=document,
            annotated=annotated,
            error=self._error_message(outcome.submission) if rejected else None,
            comparison=_compare(document, file) if document and file and not step.excluded_from_metrics else None,
            beds=_count_beds(document, file) if document and file else (),
        )

    def _download(self, name: str) -> bytes | None:
        target = self._stack.storage.bucket(self._stack.names.results_bucket).blob(name)
        try:
            data: bytes = target.download_as_bytes(timeout=CALL_TIMEOUT_S)
        except NotFound:
            return None
        return data

    def _error_message(self, submission: Submission) -> ErrorMessage | None:
        """Read the error topic until the submission's message arrives.

        The function publishes it before it logs the verdict.
        """
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while True:
            error = next((error for error in self._errors if submission.matches(error.attributes)), None)
            remaining_s = deadline - time.monotonic()
            if error is not None or remaining_s <= 0:
                return error
            messages = self._stack.read(self._stack.names.error_subscription, timeout_s=remaining_s)
            self._errors += [ErrorMessage.parse(message) for message in messages]


def _compare(document: Mapping[str, Any], file: SceneFile) -> Comparison | None:
    """Compare the output of the result's last step with the ground truth; of classes, the first one."""
    whole = [0, 0, document["image"]["width"], document["image"]["height"]]
    for model_type, objects in (
        ("detect", document.get("detections")),
        ("segment", document.get("segments")),
        ("classify", [{**each, "box": whole} for each in document.get("classification", [])[:1]]),
    ):
        truth = file.truths.get(model_type)
        if objects is not None and truth is not None:
            return compare(objects, truth.labels, truth.boxes_xyxy, classes=truth.classes)
    return None


def _count_beds(document: Mapping[str, Any], file: SceneFile) -> Sequence[BedCount]:
    segments = document.get("segments", [])
    if not segments or "counts" not in segments[0]:
        return ()
    boxes = file.truths["detect"].boxes_xyxy
    return count_per_bed(segments, file.polygons, boxes, size_wh=file.spec.size_wh)


def _is_final(line: Mapping[str, Any], submission: Submission) -> bool:
    """Return whether a log line has the submission's verdict; a deferred event is delivered again."""
    return line.get("verdict", "deferred") != "deferred" and submission.matches(line)


def _with_log_line(outcome: StepOutcome, line: Mapping[str, Any]) -> StepOutcome:
    return replace(
        outcome,
        verdict=line["verdict"],
        reason=line.get("reason", ""),
        event_id=line.get("event_id", ""),
        timings_ms=line.get("timings_ms", {}),
    )
