"""Tests the classifier on ONNX Runtime: labels, options, and crops of images of any shape."""

from typing import Any

import numpy as np
import pytest

from shared.errors import InvalidModel, ModelNotFound
from shared.processors.classifier_processor import ClassifierOptions, ClassifierProcessor
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.classification import Classification
from testing import models
from testing.memory_store import PutModel
from testing.scenes import BLUE, GREEN, RED, Colour, scene


def classify(put_model: PutModel, data: bytes, image: Pixels, **options: Any) -> Classification:
    put_model(data, "classify")
    processor = ClassifierProcessor(
        tenant_id="tenant-001", options=ClassifierOptions(**options) if options else None
    )
    return processor.process(image)


def plain(colour: Colour, size_hw: SizeHW = (40, 40)) -> Pixels:
    return scene(size_hw, [(0, 0, size_hw[1], size_hw[0])], colour)


HIGH_CONFIDENCE = np.exp(4) / (np.exp(4) + 2)


@pytest.mark.parametrize(("colour", "class_id"), [(RED, 0), (GREEN, 1), (BLUE, 2)])
@pytest.mark.parametrize(
    "variant", [{}, {"half": True}, {"batch": 4}, {"canvas_hw": (16, 48)}, {"half": True, "batch": 2}], ids=str
)
@pytest.mark.parametrize("size_hw", [(40, 40), (31, 90), (90, 31), (1, 1), (1, 5000), (5000, 1)])
def test_class_is_the_images_colour(
    colour: Colour, class_id: int, variant: dict[str, Any], size_hw: SizeHW, put_model: PutModel
) -> None:
    classification = classify(put_model, models.classify(**variant), plain(colour, size_hw))
    assert classification.class_ids[0] == class_id
    assert classification.confidences.tolist() == pytest.approx(
        [HIGH_CONFIDENCE, (1 - HIGH_CONFIDENCE) / 2, (1 - HIGH_CONFIDENCE) / 2], abs=2e-3
    )
    assert (classification.confidences.dtype, classification.class_ids.dtype) == (
        np.dtype(np.float32),
        np.dtype(np.int64),
    )


@pytest.mark.parametrize(
    ("options", "class_ids"),
    [
        ({}, [2, 0, 1]),
        ({"top_k": 1}, [2]),
        ({"top_k": 2}, [2, 0]),
        ({"top_k": 1000}, [2, 0, 1]),
        ({"confidence_threshold": 0.5}, [2]),
        ({"confidence_threshold": 0.99}, []),
        ({"confidence_threshold": 1.0}, []),
    ],
)
def test_top_k_and_threshold_limit_the_classes(
    options: dict[str, Any], class_ids: list[int], put_model: PutModel
) -> None:
    assert classify(put_model, models.classify(), plain(BLUE), **options).class_ids.tolist() == class_ids


@pytest.mark.parametrize("colour", [RED, BLUE])
def test_scores_without_softmax_are_an_invalid_model(colour: Colour, put_model: PutModel) -> None:
    with pytest.raises(InvalidModel, match="softmax"):
        classify(put_model, models.classify(softmax=False), plain(colour))


def test_centre_of_a_long_image_is_classified(put_model: PutModel) -> None:
    image = scene((40, 200), [(0, 0, 200, 40, BLUE), (80, 0, 120, 40, RED)])
    assert classify(put_model, models.classify(), image).class_ids[0] == 0


def test_very_long_image_needs_little_memory(put_model: PutModel) -> None:
    """As a whole, its short side enlarged to 224 px, it would be 13 GB."""
    image = scene((65_000, 1), [(0, 0, 1, 65_000, RED), (0, 32_400, 1, 32_600, BLUE)])
    classification = classify(put_model, models.classify(canvas_hw=(224, 224)), image)
    assert classification.class_ids[0] == 2


def test_missing_model_raises(put_model: PutModel) -> None:
    with pytest.raises(ModelNotFound, match="'classify'"):
        ClassifierProcessor(tenant_id="tenant-001")
