"""The commands that give orders to workers: `control`, `limits`, `breakers`, `workers`, and how orders are shown."""
