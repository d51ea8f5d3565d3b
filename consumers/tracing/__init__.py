"""Spans of the runs of jobs, where the application has set up an OpenTelemetry SDK."""
