"""Command line of the local tools: `python -m local COMMAND`. A command's module is imported when it is chosen."""

import argparse
import importlib
import sys

COMMANDS = {
    "up": ("local.up", "run storage, Pub/Sub and the functions on this machine, until interrupted"),
    "demo": (
        "local.demo",
        "run the demo: sample uploads and messages, their results and errors, and a page that shows them",
    ),
    "predict": ("local.predict", "run a tenant's models on image files, without emulators and network"),
}


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m local", description="Run tenant-vision, or a part of it, on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {
        name: commands.add_parser(name, help=text, description=text) for name, (_, text) in COMMANDS.items()
    }
    command = next((argument for argument in arguments if argument in COMMANDS), None)
    if command is None:
        parser.parse_args(arguments)  # prints the usage, and exits
        return 2
    module = importlib.import_module(COMMANDS[command][0])
    module.add_arguments(parsers[command])
    status: int = module.run(parser.parse_args(arguments))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
