"""The running job: its context, heartbeats and time limit, and what it returned or raised."""
