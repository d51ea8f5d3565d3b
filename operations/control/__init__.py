"""Control at the terminal: how orders are given, and how orders and workers are shown."""
