"""Schema stores: in memory, on a compacted topic, or in a Schema Registry."""
