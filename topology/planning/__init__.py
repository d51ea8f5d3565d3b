"""Plan, apply and verify: the declaration held against the cluster."""
