"""Shapes: how each Python type or given schema becomes Avro, and how values are checked and rebuilt."""
