"""The spans of jobs that are enqueued, where the application has set up an OpenTelemetry SDK."""
