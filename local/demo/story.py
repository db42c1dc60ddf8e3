"""Plays the plan on a running stack: uploads models and images, sends messages, and waits for what comes of them.

It judges nothing: that is for `expectations`.
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

from local.demo.answer import Answer, ErrorMessage, Sent
from local.demo.beds import Bed, counted
from local.demo.comparison import Comparison, compare
from local.demo.drawings import Drawing
from local.demo.plan import Ask, Plan, content_type
from local.demo.progress import Progress
from local.stack import Stack
from local.trigger import MESSAGE, UPLOAD

LOOK_EVERY_S = 0.02
AT_ONCE = max(2, os.cpu_count() or 1)  # more would only wait for each other, and be timed doing so
CALL_TIMEOUT_S = 20.0
NOT_AN_IMAGE = b"200 trays of lettuce, 40 of beet. Received with thanks.\n"


class Story:
    """`timeout_s` is for all answers together, from now on."""

    def __init__(self, stack: Stack, drawings: Iterable[Drawing], *, models: Path, timeout_s: float) -> None:
        self._stack = stack
        self._drawings = {(each.picture.tenant_id, each.picture.path): each for each in drawings}
        self._models = models
        self._deadline = time.monotonic() + timeout_s
        self._generations: dict[str, dict[str, int]] = {}  # of each tenant's models, by type
        self._errors: list[ErrorMessage] = []

    def play(self, plan: Plan, say: Callable[[Sequence[Answer]], None]) -> list[Answer]:
        """All answers in the order they were asked for; `say` gets those of each chapter when it is over."""
        for tenant_id in plan.tenants:
            self._upload_models(tenant_id)
        told = self._ask("answers to uploads", plan.uploads)
        self._upload(plan.renewed, "detect.onnx")
        told += self._ask("answers to messages", plan.messages)
        say(told)
        self._upload_models(plan.late.tenant_id)
        late = self._ask("the late model's answers", [plan.with_model])
        late += self._ask("what it still lacks", [plan.without_segmenter])
        say(late)
        return told + late

    def _upload_models(self, tenant_id: str) -> None:
        """All that lies in the tenant's folder: its models, and its pipelines if it has any."""
        for path in sorted((self._models / tenant_id).iterdir()):
            if path.suffix in {".onnx", ".json"}:
                self._upload(tenant_id, path.name)

    def _upload(self, tenant_id: str, name: str) -> None:
        blob = self._stack.storage.bucket(self._stack.names.models_bucket).blob(f"models/{tenant_id}/{name}")
        blob.upload_from_filename(self._models / tenant_id / name, timeout=CALL_TIMEOUT_S)
        kind = Path(name)
        if kind.suffix == ".onnx":
            self._generations.setdefault(tenant_id, {})[kind.stem] = int(blob.generation)
        print(f"{tenant_id} uploaded its {name}: generation {blob.generation}", flush=True)

    def _ask(self, title: str, asks: Sequence[Ask]) -> list[Answer]:
        told = []
        with Progress(title, len(asks)) as progress:
            for answer in self._settled(asks):
                told.append(self._with_all_that_came(answer))
                progress.step(f"{answer.ask.tenant_id} {answer.ask.path}: {answer.verdict or 'no answer in time'}")
        return sorted(told, key=lambda answer: asks.index(answer.ask))

    def _send(self, ask: Ask) -> Sent:
        return self._send_upload(ask) if ask.by == "upload" else self._send_message(ask)

    def _send_upload(self, ask: Ask) -> Sent:
        drawing = self._drawings.get((ask.tenant_id, ask.path))
        bucket = self._stack.names.upload_bucket
        blob = self._stack.storage.bucket(bucket).blob(ask.name)
        blob.upload_from_string(
            drawing.data if drawing else NOT_AN_IMAGE,
            content_type=content_type(ask.path),
            timeout=CALL_TIMEOUT_S,
        )
        return Sent(f"gs://{bucket}/{ask.name}", image_generation=str(blob.generation))

    def _send_message(self, ask: Ask) -> Sent:
        uri = f"gs://{self._stack.names.upload_bucket}/{ask.name}"
        body = json.dumps({"options": dict(ask.options)}).encode() if ask.options else b""
        attributes = {"tenant_id": ask.tenant_id, "image": uri}
        if ask.request_id:
            attributes["request_id"] = ask.request_id
        if ask.pipeline:
            attributes["pipeline"] = ask.pipeline
        future = self._stack.publisher.publish(self._stack.names.image_topic, body, **attributes)
        return Sent(uri, event_id=future.result(timeout=CALL_TIMEOUT_S))

    def _settled(self, asks: Sequence[Ask]) -> Iterator[Answer]:
        """Each answer as soon as its verdict is in the log, then those whose time is over."""
        queue = deque(asks)
        waiting: list[Answer] = []
        while (queue or waiting) and time.monotonic() < self._deadline:
            while queue and len(waiting) < AT_ONCE:
                ask = queue.popleft()
                waiting.append(Answer(ask, self._send(ask)))
            self._stack.wait(LOOK_EVERY_S)  # raises if the stack itself is gone
            lines = {name: self._stack.log_lines(name) for name in (UPLOAD, MESSAGE)}
            for answer in tuple(waiting):
                ours = lines[UPLOAD if answer.ask.by == "upload" else MESSAGE]
                line = next((line for line in reversed(ours) if _ends(line, answer.sent)), None)
                if line is not None:
                    waiting.remove(answer)
                    yield _noted(answer, line)
        yield from waiting
        yield from (Answer(ask, Sent("")) for ask in queue)

    def _with_all_that_came(self, answer: Answer) -> Answer:
        ask = answer.ask
        prefix = f"results/{ask.tenant_id}/{ask.path}"
        result, annotated = self._result(f"{prefix}/result.json"), self._result(f"{prefix}/annotated.jpg")
        document = json.loads(result) if result else None
        rejected = answer.verdict == "rejected"
        if rejected and document and document["event_id"] != answer.event_id:
            document = None  # of what was asked before
        drawing = self._drawings.get((ask.tenant_id, ask.path))
        return replace(
            answer,
            generations=dict(self._generations.get(ask.tenant_id, {})),
            document=document,
            annotated=annotated,
            error=self._error_about(answer.sent) if rejected else None,
            comparison=_compared(document, drawing) if document and drawing and not ask.aside else None,
            beds=_beds(document, drawing) if document and drawing else (),
        )

    def _result(self, name: str) -> bytes | None:
        blob = self._stack.storage.bucket(self._stack.names.results_bucket).blob(name)
        try:
            data: bytes = blob.download_as_bytes(timeout=CALL_TIMEOUT_S)
        except NotFound:
            return None
        return data

    def _error_about(self, sent: Sent) -> ErrorMessage | None:
        """Read the error topic until this one comes; it was published before the verdict was written."""
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while True:
            found = next((error for error in self._errors if sent.is_in(error.attributes)), None)
            left_s = deadline - time.monotonic()
            if found is not None or left_s <= 0:
                return found
            messages = self._stack.read(self._stack.names.error_subscription, timeout_s=left_s)
            self._errors += [ErrorMessage.parse(message) for message in messages]


def _compared(document: Mapping[str, Any], drawing: Drawing) -> Comparison | None:
    """What its last step found, with the truth of that kind; of classes the first is what it says."""
    whole = [0, 0, document["image"]["width"], document["image"]["height"]]
    for model_type, found in (
        ("detect", document.get("detections")),
        ("segment", document.get("segments")),
        ("classify", [{**each, "box": whole} for each in document.get("classification", [])[:1]]),
    ):
        truth = drawing.truths.get(model_type)
        if found is not None and truth is not None:
            return compare(found, truth.labels, truth.boxes_xyxy, classes=truth.classes)
    return None


def _beds(document: Mapping[str, Any], drawing: Drawing) -> Sequence[Bed]:
    segments = document.get("segments", [])
    if not segments or "counts" not in segments[0]:
        return ()
    boxes = drawing.truths["detect"].boxes_xyxy
    return counted(segments, drawing.polygons, boxes, size_wh=drawing.picture.size_wh)


def _ends(line: Mapping[str, Any], sent: Sent) -> bool:
    """Whether a log line says how this one ended; a deferred one is delivered again."""
    return line.get("verdict", "deferred") != "deferred" and sent.is_in(line)


def _noted(answer: Answer, line: Mapping[str, Any]) -> Answer:
    return replace(
        answer,
        verdict=line["verdict"],
        reason=line.get("reason", ""),
        event_id=line.get("event_id", ""),
        timings_ms=line.get("timings_ms", {}),
    )
