"""Runners in this process: threads and tasks on event loops, and the watchdog of their deadlines."""
