"""Metrics: the list of all, histograms as plain arrays, and the page that Prometheus reads."""
