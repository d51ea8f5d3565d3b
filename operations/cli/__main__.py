"""`python -m stoker.operations.cli`: the command line without its script on the path, as a fleet starts it."""

from __future__ import annotations

from . import main

if __name__ == "__main__":
    main(prog_name="stoker")
