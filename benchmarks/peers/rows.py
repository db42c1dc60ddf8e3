"""List the rows of the comparison; all processes know them by name. Needs only the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the comparison.

    Attributes:
        name: The name in the table.
        size: The folder of the photograph and the models.
        model: The model of the bare run.
        passes: How often the model runs for one bare run.
        over: Another row of the same contender to compare with, instead of bare runs.
        rounds: How often each contender has its turn.
        calls: How often the work is timed in each round.
    """

    name: str
    size: str
    model: str
    passes: int = 1
    over: str = ""
    rounds: int = 6
    calls: int = 4


ROWS: Final = (
    Row("detect, pixels in, 720p", "hd", "detect"),
    Row("detect, JPEG in, 720p", "hd", "detect"),
    Row("detect, JPEG in, 12 MP", "twelve-mp", "detect", calls=2),
    Row("segment with polygons, JPEG in, 720p, 20 objects", "hd", "segment"),
    Row("segment with polygons, JPEG in, 12 MP, 60 objects", "twelve-mp", "segment", calls=2),
    Row(
        "segment at the image's own resolution, pixels in, 12 MP, 60 objects",
        "twelve-mp",
        "segment",
        rounds=3,
        calls=1,
    ),
    Row("annotated picture, 1080p, 34 objects, drawing alone", "full-hd", "segment", calls=2),
    Row("sliced at 512, 4000x3000, boxes", "sliced", "detect", passes=81, rounds=3, calls=1),
    Row("sliced at 512, 4000x3000, segments", "sliced", "segment", passes=81, rounds=3, calls=1),
    Row("detect, segment and classify alone", "hd", "", calls=2),
    Row(
        "detect, segment and classify in turn, over each alone",
        "hd",
        "",
        calls=2,
        over="detect, segment and classify alone",
    ),
)
TASKS: Final = ("detect", "segment", "classify")
RUNS_PER_TASK: Final = 4  # consecutive or in turn
