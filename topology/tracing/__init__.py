"""Traces by the OpenTelemetry API: names of attributes, the context that rides in headers, and the tracer."""
