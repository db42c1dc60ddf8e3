"""Make the environment of timed processes, which read compiled modules as the deployed function does."""

from __future__ import annotations

import os
from typing import Final

_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"  # if it is set, every start compiles all modules


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with these settings, and with writing of bytecode enabled."""
    return {name: value for name, value in os.environ.items() if name != _NO_BYTECODE} | settings
