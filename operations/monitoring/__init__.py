"""Monitoring: alert rules for Prometheus and dashboards for Grafana, built from the list of all metrics."""
