"""Plan, apply and verify: the differences between the declaration and the cluster."""
