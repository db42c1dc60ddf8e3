from typing import Any

import numpy as np
import pytest

from local.demo.comparison import Comparison, compare, ious, total

Box = tuple[float, float, float, float]

BOX = (10, 10, 30, 30)


def detection(label: str, box: Box) -> dict[str, Any]:
    return {"label": label, "box": list(box), "confidence": 0.9}


@pytest.mark.parametrize(
    ("detections", "truth", "matched"),
    [
        pytest.param([], [], {}, id="no objects and no detections"),
        pytest.param([], [("plant", BOX)], {}, id="no detections"),
        pytest.param([detection("plant", BOX)], [], {}, id="no objects"),
        pytest.param([detection("plant", BOX)], [("plant", BOX)], {"plant": 1}, id="same box"),
        pytest.param([detection("tray", BOX)], [("plant", BOX)], {}, id="other label"),
        pytest.param(
            [detection("plant", BOX)] * 2, [("plant", BOX)], {"plant": 1}, id="two detections of one object"
        ),
        pytest.param([detection("plant", (10, 10, 30, 20))], [("plant", BOX)], {"plant": 1}, id="IoU of one half"),
        pytest.param([detection("plant", (10, 10, 30, 19))], [("plant", BOX)], {}, id="IoU below one half"),
        pytest.param(
            [detection("plant", (12, 10, 32, 30)), detection("plant", BOX)],
            [("plant", BOX), ("plant", (14, 10, 34, 30))],
            {"plant": 2},
            id="second detection takes the object that is left",
        ),
    ],
)
def test_compare_matches_detections_with_the_ground_truth(
    detections: list[dict[str, Any]], truth: list[tuple[str, Box]], matched: dict[str, int]
) -> None:
    boxes = np.array([box for _, box in truth], np.float32).reshape(-1, 4)

    comparison = compare(detections, [label for label, _ in truth], boxes, classes=("plant",))

    assert comparison.matched == matched
    assert sum(comparison.detected.values()) == len(detections)
    assert comparison.actual == {"plant": len(truth)}


def test_labels_are_ordered_by_class_and_then_by_detection() -> None:
    comparison = compare([detection("stone", BOX)], ["b"], np.array([BOX], np.float32), classes=("a", "b"))
    assert comparison.labels == ("a", "b", "stone")


def test_total_adds_counts_by_label() -> None:
    one = Comparison({"a": 1, "b": 2}, {"a": 3}, {"a": 1})
    other = Comparison({"b": 5}, {"b": 4}, {"b": 4})
    assert total([one, other]) == Comparison({"a": 1, "b": 7}, {"a": 3, "b": 4}, {"a": 1, "b": 4})
    assert total([]) == Comparison()


def test_ious_of_one_box_with_several() -> None:
    boxes = np.array([BOX, (20, 10, 40, 30), (30, 10, 50, 30), (100, 100, 100, 100)], np.float32)
    assert ious(np.array(BOX, np.float32), boxes) == pytest.approx([1, 1 / 3, 0, 0])
