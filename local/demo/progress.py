"""Show the progress of the demo: a bar on a terminal, plain lines elsewhere."""

import shutil
import sys
from types import TracebackType
from typing import Final, NoReturn, Self

from tqdm import tqdm

BAR: Final = "{desc} {n_fmt:>2}/{total_fmt} |{bar:24}| {elapsed}{postfix}"


class Progress:
    """A context in which `total` steps are reported."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            columns, rows = shutil.get_terminal_size()  # tqdm fails on a terminal of size zero; this has a default
            self._bar = tqdm(
                total=self._total, desc=self._title, leave=False, ncols=columns, nrows=rows, bar_format=BAR
            )
        else:
            print(f"{self._title}: {self._total}", flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, description: str) -> None:
        """Report that one more step is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(description, refresh=False)
            self._bar.update()
        else:
            print(f"  {self._done:>2}/{self._total} {description}", flush=True)
