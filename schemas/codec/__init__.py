"""Avro on the wire: canonical form, fingerprints, and bodies read and written exactly."""
