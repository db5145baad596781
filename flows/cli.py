"""The command line: `actionlore`, or `python -m flows.cli`."""

from __future__ import annotations

# Their import adds their commands.
from flows.commands import chain, datasets, knowledge, mining, runs, store, video_files  # noqa: F401
from flows.commands.app import app


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
