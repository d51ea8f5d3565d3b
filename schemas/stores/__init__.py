"""Where schemas are kept: in memory, on a compacted topic, in a Schema Registry."""
