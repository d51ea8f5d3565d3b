"""Reads the metrics of a process every second, as Prometheus does: `python reader.py PORT`, until it is killed."""

from __future__ import annotations

import sys
import time
from typing import Final
from urllib.request import urlopen

EVERY_S: Final = 1.0
"""Fifteen times as often as Prometheus does, unless told otherwise."""
TIMEOUT_S: Final = 60.0


def main() -> None:
    """Read, and forget what was read."""
    url = f"http://127.0.0.1:{int(sys.argv[1])}/metrics"
    while True:
        time.sleep(EVERY_S)
        with urlopen(url, timeout=TIMEOUT_S) as page:
            page.read()


if __name__ == "__main__":
    main()
