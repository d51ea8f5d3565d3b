"""The worker's Kafka clients: options, readers beside the group's, the group protocol, outages, the end of a log."""
