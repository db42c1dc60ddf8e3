"""Draw a training set, train on it, export the model and evaluate it: `python -m samples.training`."""

from __future__ import annotations

import argparse
from pathlib import Path

from samples.scenes import TENANTS

MODELS = Path(__file__).parents[1] / "models"


def main() -> None:
    """Run the command of the command line."""
    parser = argparse.ArgumentParser(prog="python -m samples.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    parts = {name: commands.add_parser(name, help=about) for name, about in _ABOUT.items()}
    for part in parts.values():
        part.add_argument("--tenant", required=True, choices=list(TENANTS))
    for name in ("draw", "train"):
        parts[name].add_argument("--folder", type=Path, required=True, help="training set of the tenant")
    for name in ("train", "export"):
        parts[name].add_argument("--weights", type=Path, required=True, help="PyTorch weights to write or read")
        parts[name].add_argument("--task", choices=["detect", "segment", "classify"], default="detect")
    parts["draw"].add_argument("--count", type=int, default=480)
    parts["draw"].add_argument("--workers", type=int, default=2)
    parts["train"].add_argument("--steps", type=int, default=2000)
    parts["train"].add_argument("--batch", type=int, default=16)
    parts["train"].add_argument("--crop", type=int, default=320)
    parts["train"].add_argument("--rate", type=float, default=3e-3)
    parts["train"].add_argument(
        "--settle", type=float, default=0.4, help="share of the steps after which batch statistics are frozen"
    )
    parts["train"].add_argument("--seed", type=int, default=1)
    parts["train"].add_argument("--start", type=Path, help="initial weights, which may be of another tenant")
    parts["export"].add_argument("--onnx", type=Path, help="default: the tenant's file in samples/models")
    parts["export"].add_argument(
        "--static", action="store_true", help="fix the input shape to one 640 x 640 image"
    )
    parts["evaluate"].add_argument("--onnx", type=Path, help="default: the tenant's file in samples/models")
    parts["evaluate"].add_argument("--task", choices=["detect", "segment", "classify"], default="detect")
    parts["evaluate"].add_argument("--scenes", type=int, default=60)
    arguments = parser.parse_args()
    _COMMANDS[arguments.command](arguments)


def _draw(arguments: argparse.Namespace) -> None:
    from samples.training.dataset import draw  # noqa: PLC0415

    draw(arguments.tenant, arguments.folder, arguments.count, arguments.workers)


def _train(arguments: argparse.Namespace) -> None:
    from samples.training import tasks  # noqa: PLC0415 - only training and export need PyTorch

    tasks.train_task(
        arguments.task,
        arguments.tenant,
        arguments.folder,
        arguments.weights,
        start=arguments.start,
        steps=arguments.steps,
        batch=arguments.batch,
        crop_px=arguments.crop,
        rate=arguments.rate,
        settle=arguments.settle,
        seed=arguments.seed,
    )


def _export(arguments: argparse.Namespace) -> None:
    from samples.training import onnx_export  # noqa: PLC0415 - only training and export need PyTorch

    path = arguments.onnx or MODELS / arguments.tenant / f"{arguments.task}.onnx"
    onnx_export.export_onnx(arguments.task, arguments.tenant, arguments.weights, path, static=arguments.static)
    print(f"{path}: {path.stat().st_size} bytes")


def _evaluate(arguments: argparse.Namespace) -> None:
    from samples.training import evaluate  # noqa: PLC0415

    path = arguments.onnx or MODELS / arguments.tenant / f"{arguments.task}.onnx"
    print(evaluate.report(arguments.tenant, arguments.task, path, arguments.scenes))


_ABOUT = {
    "draw": "draw a training set",
    "train": "train on it",
    "export": "write the ONNX file of trained weights",
    "evaluate": "evaluate an ONNX file on scenes outside the training set; needs no PyTorch",
}
_COMMANDS = {"draw": _draw, "train": _train, "export": _export, "evaluate": _evaluate}

if __name__ == "__main__":
    main()
