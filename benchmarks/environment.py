"""The environment of the processes that are timed: they read compiled modules, as they do where it is deployed."""

from __future__ import annotations

import os
from typing import Final

_NOT_COMPILED: Final = "PYTHONDONTWRITEBYTECODE"  # would have modules compiled at each start, for ever


def environment(**settings: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != _NOT_COMPILED} | settings
