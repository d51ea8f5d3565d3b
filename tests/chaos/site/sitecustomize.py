"""Python runs this at the start of each process of a run, before anything else can take hold of the real clock."""

from __future__ import annotations

import os
from pathlib import Path

if folder := os.environ.get("CHAOS_FOLDER"):
    from chaos.clock import install

    install(Path(folder) / "clock")
