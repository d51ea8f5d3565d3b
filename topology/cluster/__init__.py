"""Connections to a cluster: settings, clients, bounded requests, and the meaning of Kafka's errors."""
