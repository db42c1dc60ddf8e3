"""The command: stack up, the story told, what came saved and shown; its exit code says whether all of it came."""

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NoReturn

from google.api_core.exceptions import GoogleAPICallError, RetryError
from requests.exceptions import RequestException

from local.demo import table
from local.demo.answer import Answer
from local.demo.drawings import Drawing, drawn
from local.demo.expectations import missing
from local.demo.inlined import inlined
from local.demo.page import Told, page
from local.demo.plan import FULL, Plan
from local.demo.progress import Progress
from local.demo.story import Story
from local.server_process import StackError
from local.stack import Stack
from local.up import STOP_SIGNALS, StopRequested

MODELS: Final = Path(__file__).resolve().parents[2] / "samples" / "models"
INTERRUPTED: Final = 130


class DemoError(RuntimeError):
    """The story cannot be told; the sentence is for the person who asked for it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="where the page and results go"
    )
    parser.add_argument(
        "--models", type=Path, default=MODELS, metavar="DIR", help="DIR/TENANT/detect.onnx (default: the samples)"
    )
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="for all answers together")


def run(arguments: argparse.Namespace) -> int:
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)
    try:
        sentences = demo(FULL, out=arguments.out, models=arguments.models, timeout_s=arguments.timeout)
    except StopRequested:
        print("\nlocal demo: interrupted, nothing is left running", file=sys.stderr)
        return INTERRUPTED
    except (StackError, DemoError) as error:
        print(f"local demo: {error}", file=sys.stderr)
        return 1
    except (GoogleAPICallError, RetryError, RequestException, TimeoutError) as error:
        print(f"local demo: the stack does not answer: {error!r}", file=sys.stderr)
        return 1
    for sentence in sentences:
        print(f"local demo: {sentence}", file=sys.stderr)
    return 1 if sentences else 0


def demo(plan: Plan, *, out: Path, models: Path, timeout_s: float) -> list[str]:
    """Tell the whole story and save it under `out`. Gives what is missing, a sentence each.

    Raises:
        DemoError, StackError: it could not be told at all.
    """
    began = time.monotonic()
    for tenant_id in (*plan.tenants, plan.late.tenant_id):
        if not (models / tenant_id / "detect.onnx").is_file():
            raise DemoError(f"there is no {models / tenant_id / 'detect.onnx'}")
    (out / "index.html").unlink(missing_ok=True)  # of an earlier run: it would be taken for this one's
    answers = _told(plan, models=models, timeout_s=timeout_s)
    sentences = missing(answers)
    files = _saved(answers, out)
    told = Told(
        answers=answers,
        pictures={position: inlined(answers[position].annotated or b"") for position in files},
        files=files,
        missing=sentences,
        took_s=time.monotonic() - began,
    )
    (out / "index.html").write_text(page(told), encoding="utf-8")
    ended = "all of it happened" if not sentences else f"{len(sentences)} things did not happen"
    print(f"\n{ended}, in {told.took_s:.0f} s\nthe page: {out / 'index.html'}", flush=True)
    return sentences


def _told(plan: Plan, *, models: Path, timeout_s: float) -> list[Answer]:
    with drawn(plan.scenes) as coming:
        began = time.monotonic()
        with Stack() as stack:
            print(f"storage, Pub/Sub and the functions are up in {time.monotonic() - began:.1f} s", flush=True)
            drawings = []
            with Progress("drawing scenes", len(plan.scenes)) as progress:
                for drawing in coming:
                    drawings.append(drawing)
                    progress.step(_described(drawing))
            return Story(stack, drawings, models=models, timeout_s=timeout_s).play(plan, _say)


def _described(drawing: Drawing) -> str:
    picture = drawing.picture
    width, height = picture.size_wh
    to_find = ", ".join(f"{count} {label}" for label, count in Counter(_labels(drawing)).items())
    return f"{picture.tenant_id} {picture.path}: {width} x {height}, {to_find}"


def _labels(drawing: Drawing) -> Iterator[str]:
    return chain.from_iterable(truth.labels for truth in drawing.truths.values())


def _say(answers: Sequence[Answer]) -> None:
    print(f"\n{table.table(answers)}\n", flush=True)
    if counts := table.beds(answers):
        print(f"found / there, bed by bed:\n{counts}\n", flush=True)
    if sentences := table.errors(answers):
        print(f"on the error topic:\n{sentences}\n", flush=True)


def _saved(answers: Sequence[Answer], out: Path) -> Mapping[int, str]:
    """Write each result under `out`; gives the pictures' places by position in `answers`."""
    out.mkdir(parents=True, exist_ok=True)
    files = {}
    for position, answer in enumerate(answers):
        if answer.verdict != "done" or answer.document is None or answer.annotated is None:
            continue
        place = Path("results", answer.ask.by, answer.ask.tenant_id, answer.ask.path)
        (out / place).mkdir(parents=True, exist_ok=True)
        (out / place / "annotated.jpg").write_bytes(answer.annotated)
        text = json.dumps(answer.document, indent=1, ensure_ascii=False)
        (out / place / "result.json").write_text(text + "\n", encoding="utf-8")
        files[position] = (place / "annotated.jpg").as_posix()
    return files


def _stop(_number: int, _frame: object) -> NoReturn:
    """Once. Not by SIG_IGN, which a process started at this moment would inherit, and then not be ended."""
    for number in STOP_SIGNALS:
        signal.signal(number, _go_on_stopping)
    raise StopRequested


def _go_on_stopping(_number: int, _frame: object) -> None:
    """It takes two seconds at most, however impatient."""
