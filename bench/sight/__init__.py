"""What commands, events, indexes, metrics, statistics, traces and owners cost."""
