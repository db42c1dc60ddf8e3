"""What is counted, and what counts as found in its place."""

import numpy as np
import pytest

from local.demo.comparison import Comparison, compare, ious, total

BOX = (10, 10, 30, 30)


def found(label, box):
    return {"label": label, "box": list(box), "confidence": 0.9}


@pytest.mark.parametrize(
    ("detections", "truth", "matched"),
    [
        pytest.param([], [], {}, id="nothing there, nothing found"),
        pytest.param([], [("plant", BOX)], {}, id="nothing found"),
        pytest.param([found("plant", BOX)], [], {}, id="found where nothing is"),
        pytest.param([found("plant", BOX)], [("plant", BOX)], {"plant": 1}, id="found in its place"),
        pytest.param([found("tray", BOX)], [("plant", BOX)], {}, id="taken for something else"),
        pytest.param([found("plant", BOX)] * 2, [("plant", BOX)], {"plant": 1}, id="found twice is matched once"),
        pytest.param(
            [found("plant", (10, 10, 30, 20))], [("plant", BOX)], {"plant": 1}, id="half of it is enough"
        ),
        pytest.param([found("plant", (10, 10, 30, 19))], [("plant", BOX)], {}, id="less than half is not"),
        pytest.param(
            [found("plant", (12, 10, 32, 30)), found("plant", BOX)],
            [("plant", BOX), ("plant", (14, 10, 34, 30))],
            {"plant": 2},
            id="the second takes what the first left free",
        ),
    ],
)
def test_matches(detections, truth, matched):
    boxes = np.array([box for _, box in truth], np.float32).reshape(-1, 4)
    seen = compare(detections, [label for label, _ in truth], boxes, classes=("plant",))
    assert seen.matched == matched
    assert sum(seen.found.values()) == len(detections)
    assert seen.there == {"plant": len(truth)}


def test_labels_come_in_the_order_of_the_tenants_classes():
    seen = compare([found("stone", BOX)], ["b"], np.array([BOX], np.float32), classes=("a", "b"))
    assert seen.labels == ("a", "b", "stone")


def test_totals_add_up_by_label():
    one = Comparison({"a": 1, "b": 2}, {"a": 3}, {"a": 1})
    other = Comparison({"b": 5}, {"b": 4}, {"b": 4})
    assert total([one, other]) == Comparison({"a": 1, "b": 7}, {"a": 3, "b": 4}, {"a": 1, "b": 4})
    assert total([]) == Comparison()


def test_overlap_is_over_union():
    boxes = np.array([BOX, (20, 10, 40, 30), (30, 10, 50, 30), (100, 100, 100, 100)], np.float32)
    assert ious(np.array(BOX, np.float32), boxes) == pytest.approx([1, 1 / 3, 0, 0])
