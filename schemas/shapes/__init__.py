"""From Python types and given schemas to shapes: what a value is in Avro, how it is checked and shown."""
