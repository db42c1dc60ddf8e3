"""`python -m local demo`: the whole story in one command, and a page that shows it."""

from local.demo.command import add_arguments, run

__all__ = ["add_arguments", "run"]
