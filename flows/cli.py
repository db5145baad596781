"""The command line: `actionlore`, or `python -m flows.cli`."""

from __future__ import annotations

from importlib import import_module

from flows.commands.app import app

for name in ("datasets", "knowledge", "mining", "runs", "chain", "store"):
    import_module(f"flows.commands.{name}")  # which adds its commands, shown in this order


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
