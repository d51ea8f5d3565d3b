"""Whether this process is a worker's child, in which no worker may be started: it would have children in turn."""

from __future__ import annotations

is_child = False
