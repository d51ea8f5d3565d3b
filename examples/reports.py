"""Schedules of a small shop: declared in code, made at run time, paused and triggered.

    stoker -A examples.reports:pipeline topology apply
    python -m examples.reports

One process does all of it here, so that you can follow it: it makes a schedule, runs a worker that fires it and the
declared ones, and does what an operator does with `stoker schedules`.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from examples.embedded import wait_until
from stoker.consumers import Worker, current_job
from stoker.producers.schedules import Schedules
from stoker.topology import ClusterSettings, JobCall, Pipeline, cron, every

pipeline = Pipeline(os.environ.get("REPORTS_NAMESPACE", "reports"), description="reports of a small shop")
reports = pipeline.queue("reports", partitions=2)
ran: list[str] = []


@pipeline.job(reports)
def report(kind: str) -> None:
    """Write a report for the instant of its schedule."""
    job = current_job()
    ran.append(kind)
    print(f"  {kind} report, by {job.schedule}, on time: {job.scheduled_for is not None}", flush=True)


def one_for_each_shop(at: datetime) -> list[JobCall]:
    """The jobs of an instant."""
    return [report.call(f"{shop} {at:%Y}") for shop in ("acme", "zeta")]


pipeline.schedule("nightly", cron("0 3 * * *", tz="Europe/Berlin"), report.call("nightly"), owner="ann")
pipeline.schedule("shops", every(timedelta(seconds=1)), one_for_each_shop, queue=reports)


def main() -> None:
    """Make a schedule, let a worker fire, and change what is there."""
    cluster = ClusterSettings.from_environment()
    worker = Worker(pipeline, cluster)
    with Schedules(pipeline, cluster, operator="ann") as schedules:
        if "stock" not in {view.name for view in schedules.all()}:
            schedules.add("stock", every(timedelta(seconds=1)), report.call("stock"), reason="the shelves are empty")
        worker.start()
        try:
            wait_until(lambda: "stock" in ran and any(kind.startswith("zeta") for kind in ran))
            print("the next nights, in UTC:", [f"{at:%H:%M}" for at in schedules.next("nightly", 2)])
            schedules.pause("shops", reason="their shops are closed")
            schedules.trigger("nightly", reason="the printer was broken")
            wait_until(lambda: "nightly" in ran)
            schedules.resume("shops")
            schedules.remove("stock", reason="the shelves are full")
            print("schedules:", [view.name for view in schedules.all()])
        finally:
            worker.stop()


if __name__ == "__main__":
    main()
