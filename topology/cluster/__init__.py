"""Talking to a cluster: settings, clients, bounded questions, and what their errors mean."""
