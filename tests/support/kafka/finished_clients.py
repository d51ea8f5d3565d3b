"""Clients that fail for good on purpose, as librdkafka lets a test have it."""

from __future__ import annotations

import ctypes

from stoker.topology.cluster import forgotten_brokers

STALE_EPOCH = 47
"""INVALID_PRODUCER_EPOCH: fatal for a producer whose id another one has taken."""


def fail_for_good(name: str) -> int:
    """Fail all lasting clients of this process whose name has this in it; returns how many these are."""
    library = forgotten_brokers._library()
    assert library is not None
    library.rd_kafka_test_fatal_error.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    failed = 0
    for client in forgotten_brokers._REMINDER._all():
        handle = ctypes.c_void_p.from_address(id(client) + object.__basicsize__).value
        if handle is not None and name.encode() in library.rd_kafka_name(handle):
            library.rd_kafka_test_fatal_error(handle, STALE_EPOCH, b"a test wants it")
            failed += 1
    return failed
