"""The embedded broker: a real Kafka for one folder."""
