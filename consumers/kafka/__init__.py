"""The worker's Kafka clients: their options, the group protocol, outages, and the end of a log."""
