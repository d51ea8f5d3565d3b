"""The worker's Kafka clients: options, side readers, the group protocol, outages, the end of a log."""
