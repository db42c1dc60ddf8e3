"""Run the `demo` command: start the stack, run the plan, save the results and write the page.

The exit code is 0 if every expectation was met.
"""

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

from local.demo import summary
from local.demo.embedded_picture import embed_picture
from local.demo.expectations import unmet_expectations
from local.demo.page import Report, render_page
from local.demo.plan import FULL_PLAN, Plan
from local.demo.plan_runner import PlanRunner
from local.demo.progress import Progress
from local.demo.scene_files import SceneFile, draw_scenes
from local.demo.step_outcome import StepOutcome
from local.server_process import StackError
from local.stack import Stack
from local.up import STOP_SIGNALS, StopRequested

MODELS: Final = Path(__file__).resolve().parents[2] / "samples" / "models"
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as a shell reports it


class DemoError(RuntimeError):
    """The demo cannot run; the message tells the user why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `demo` to a parser."""
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="folder for the page and the results"
    )
    parser.add_argument(
        "--models",
        type=Path,
        default=MODELS,
        metavar="DIR",
        help="folder with TENANT/detect.onnx (default: the sample models)",
    )
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="for all steps together")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, and return the exit code."""
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)
    try:
        unmet = run_demo(FULL_PLAN, out=arguments.out, models=arguments.models, timeout_s=arguments.timeout)
    except StopRequested:
        print("\nlocal demo: interrupted; all processes were stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (StackError, DemoError) as error:
        print(f"local demo: {error}", file=sys.stderr)
        return 1
    except (GoogleAPICallError, RetryError, RequestException, TimeoutError) as error:
        print(f"local demo: the local stack does not respond: {error!r}", file=sys.stderr)
        return 1
    for sentence in unmet:
        print(f"local demo: {sentence}", file=sys.stderr)
    return 1 if unmet else 0


def run_demo(plan: Plan, *, out: Path, models: Path, timeout_s: float) -> list[str]:
    """Run a plan, and save the results and the page in `out`.

    Returns:
        One sentence for each expectation that was not met.

    Raises:
        DemoError: A tenant has no model.
        StackError: The local stack did not start, or has ended.
    """
    began = time.monotonic()
    for tenant_id in (*plan.tenants, plan.late_scene.tenant_id):
        model = models / tenant_id / "detect.onnx"
        if not model.is_file():
            raise DemoError(f"{model} does not exist: --models must name a folder with TENANT/detect.onnx")
    (out / "index.html").unlink(missing_ok=True)  # of an earlier run
    outcomes = _run_plan(plan, models=models, timeout_s=timeout_s)
    unmet = unmet_expectations(outcomes)
    files = _save(outcomes, out)
    report = Report(
        outcomes=outcomes,
        pictures={index: embed_picture(outcomes[index].annotated or b"") for index in files},
        files=files,
        unmet=unmet,
        duration_s=time.monotonic() - began,
    )
    (out / "index.html").write_text(render_page(report), encoding="utf-8")
    conclusion = "all expectations were met" if not unmet else f"{len(unmet)} expectations were not met"
    print(f"\n{conclusion}, in {report.duration_s:.0f} s\nreport: {out / 'index.html'}", flush=True)
    return unmet


def _run_plan(plan: Plan, *, models: Path, timeout_s: float) -> list[StepOutcome]:
    with draw_scenes(plan.all_scenes) as drawn_files:
        began = time.monotonic()
        with Stack() as stack:
            print(f"started storage, Pub/Sub and the functions in {time.monotonic() - began:.1f} s", flush=True)
            files = []
            with Progress("drawing scenes", len(plan.all_scenes)) as progress:
                for file in drawn_files:
                    files.append(file)
                    progress.step(_description(file))
            return PlanRunner(stack, files, models=models, timeout_s=timeout_s).run(plan, _show)


def _description(file: SceneFile) -> str:
    width, height = file.spec.size_wh
    objects = ", ".join(f"{count} {label}" for label, count in Counter(_labels(file)).items())
    return f"{file.spec.tenant_id} {file.spec.path}: {width} x {height}, {objects}"


def _labels(file: SceneFile) -> Iterator[str]:
    return chain.from_iterable(truth.labels for truth in file.truths.values())


def _show(outcomes: Sequence[StepOutcome]) -> None:
    print(f"\n{summary.outcome_table(outcomes)}\n", flush=True)
    if counts := summary.bed_lines(outcomes):
        print(f"counted / actual plants in each bed:\n{counts}\n", flush=True)
    if messages := summary.error_lines(outcomes):
        print(f"messages on the error topic:\n{messages}\n", flush=True)


def _save(outcomes: Sequence[StepOutcome], out: Path) -> Mapping[int, str]:
    """Write each result below `out`, and return the pictures' paths there, by index in `outcomes`."""
    out.mkdir(parents=True, exist_ok=True)
    files = {}
    for index, outcome in enumerate(outcomes):
        if outcome.verdict != "done" or outcome.document is None or outcome.annotated is None:
            continue
        folder = Path("results", outcome.step.channel, outcome.step.tenant_id, outcome.step.path)
        (out / folder).mkdir(parents=True, exist_ok=True)
        (out / folder / "annotated.jpg").write_bytes(outcome.annotated)
        text = json.dumps(outcome.document, indent=1, ensure_ascii=False)
        (out / folder / "result.json").write_text(text + "\n", encoding="utf-8")
        files[index] = (folder / "annotated.jpg").as_posix()
    return files


def _stop(_number: int, _frame: object) -> NoReturn:
    """Stop the demo on the first signal, and ignore the following ones.

    They are ignored by a handler. SIG_IGN would be inherited by a process that is started at this moment, which
    could then not be stopped.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, _ignore_signal)
    raise StopRequested


def _ignore_signal(_number: int, _frame: object) -> None:
    """Do nothing: stopping takes at most two seconds."""
