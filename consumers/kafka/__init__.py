"""What the worker asks of Kafka's clients: how they are made, and how the end of a log is read."""
