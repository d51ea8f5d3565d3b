"""The contract of a job type: it checks, encodes and decodes payloads, and compares schema versions."""
