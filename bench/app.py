"""The slow job as an application, for `stoker -A app:pipeline worker`: its memory is measured as users run it."""

from __future__ import annotations

import os

from jobs import declare

NAMESPACE_VARIABLE = "BENCH_NAMESPACE"

pipeline = declare(os.environ.get(NAMESPACE_VARIABLE, "bench"), "slow")
