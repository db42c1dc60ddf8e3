"""Run the demo: upload images to a local stack, check the results, and write a page that shows them."""

from local.demo.command import add_arguments, run

__all__ = ["add_arguments", "run"]
