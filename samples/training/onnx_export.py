"""Export a model as ONNX, with the raw output layout and the metadata of an Ultralytics export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from samples.scenes import TENANTS
from samples.training.canvases import CANVAS_PX, CLOSE_UP_PX, SEGMENT_CANVAS_PX
from samples.training.network import MASK_TERMS, Classifier
from samples.training.tasks import new_model

if TYPE_CHECKING:
    from pathlib import Path

OPSET = 17
MAX_FILE_BYTES = 2_000_000


class ExportedModel(nn.Module):
    """The network with the outputs of the exported file."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if isinstance(self.model, Classifier):
            return self.model(images).softmax(1)  # (B, nc)
        raw = self.model(images)
        rows = [raw.boxes, raw.logits.sigmoid()]
        if raw.terms is None:
            return torch.cat(rows, 1)  # (B, 4 + nc, N)
        return torch.cat([*rows, raw.terms], 1), raw.prototypes  # (B, 4 + nc + 32, N), (B, 32, mh, mw)


def export_onnx(task: str, tenant_id: str, weights: Path, path: Path, *, static: bool) -> None:
    """Write an ONNX file; a static one takes one image of one size, another any multiple of 32 px."""
    model = new_model(task, tenant_id)
    model.load_state_dict(torch.load(weights, weights_only=True))
    fuse_batch_norms(model.eval())
    side = side_px(task)
    outputs = ["output0", "output1"] if task == "segment" else ["output0"]
    axes = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch"}}
    if task != "classify":
        axes["output0"][2] = "anchors"
    if task == "segment":
        axes["output1"] = {0: "batch", 2: "mask_height", 3: "mask_width"}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        ExportedModel(model).eval(),
        (torch.zeros(1, 3, side, side),),
        str(path),
        input_names=["images"],
        output_names=outputs,
        dynamic_axes=None if static else axes,
        opset_version=OPSET,
        dynamo=False,
    )
    file = onnx.load(path)
    if task != "classify":
        rows = 4 + model.classes + (MASK_TERMS if task == "segment" else 0)
        file.graph.output[0].type.tensor_type.shape.dim[1].dim_value = rows
    for key, value in metadata(task, tenant_id, static=static).items():
        entry = file.metadata_props.add()
        entry.key, entry.value = key, value
    file.producer_name = "tenant-vision"
    for node in file.graph.node:
        node.ClearField("doc_string")  # the exporter records paths of source files
    onnx.checker.check_model(file, full_check=True)
    onnx.save(file, path)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes: the maximum is {MAX_FILE_BYTES}")


def metadata(task: str, tenant_id: str, *, static: bool) -> dict[str, str]:
    """Return the metadata of the file; some values are Python literals."""
    tenant = TENANTS[tenant_id]
    labels = {"detect": tenant.labels, "segment": tenant.segment_labels, "classify": tenant.states}[task]
    side = side_px(task)
    return {
        "description": f"Sample {task} model of {tenant_id}, trained on drawn nursery scenes",
        "author": "The tenant-vision authors",
        "license": "Apache-2.0",
        "version": "1",
        "task": task,
        "stride": "1" if task == "classify" else "32",
        "batch": "1",
        "imgsz": str([side, side]),
        "names": str(dict(enumerate(labels))),
        "channels": "3",
        "end2end": "False",
        "args": str({"batch": 1, "half": False, "dynamic": not static, "simplify": False, "nms": False}),
    }


def side_px(task: str) -> int:
    """Return the side of the square input of a task's models."""
    return {"detect": CANVAS_PX, "segment": SEGMENT_CANVAS_PX, "classify": CLOSE_UP_PX}[task]


def fuse_batch_norms(module: nn.Module) -> None:
    """Fold each batch normalisation into the convolution before it, in place, in eval mode."""
    for child in module.modules():
        if isinstance(child, nn.Sequential) and len(child) > 1:
            first, second = child[0], child[1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                child[0] = fuse_conv_bn_eval(first, second)
                child[1] = nn.Identity()
