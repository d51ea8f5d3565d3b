"""Waiting records that are known by their offsets only: a few bytes each, read again when their time comes."""
