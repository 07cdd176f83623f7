"""The command line: parses arguments, draws progress, prints results. The only room that prints."""

from haloquant.cli.app import main

__all__ = ["main"]
