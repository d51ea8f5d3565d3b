"""A job as an application, for `stoker -A app:pipeline worker`: what is measured of it, users have as well."""

from __future__ import annotations

import os
from typing import cast

from jobs import Kind, declare

NAMESPACE_VARIABLE = "BENCH_NAMESPACE"
KIND_VARIABLE = "BENCH_KIND"
"""Which of the kinds of `jobs.py`; the slow one, unless given."""

pipeline = declare(os.environ.get(NAMESPACE_VARIABLE, "bench"), cast("Kind", os.environ.get(KIND_VARIABLE, "slow")))
