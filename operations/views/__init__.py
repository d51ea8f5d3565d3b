"""How logs, workers and foreign text appear on a terminal."""
