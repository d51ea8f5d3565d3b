"""The embedded broker: a real Kafka on this machine for one folder."""
