"""Avro on the wire: canonical forms, fingerprints, and generated readers and writers of bodies."""
