"""The command line: `python -m local COMMAND`. Each command is a module, imported when chosen."""

import argparse
import importlib
import sys

COMMANDS = {
    "up": ("local.up", "storage, Pub/Sub and the functions on this machine, until interrupted"),
    "demo": ("local.demo", "the whole story: upload, results, errors, and a page that shows it"),
    "predict": ("local.predict", "a tenant's models on images of yours: no emulator, no network"),
}


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description="A cloud in a box.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {
        name: commands.add_parser(name, help=line, description=line) for name, (_, line) in COMMANDS.items()
    }
    chosen = next((word for word in words if word in COMMANDS), None)
    if chosen is None:
        parser.parse_args(words)  # explains itself, and exits
        return 2
    module = importlib.import_module(COMMANDS[chosen][0])
    module.add_arguments(parsers[chosen])
    status: int = module.run(parser.parse_args(words))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
