"""Output for people: live tables, inspections, text and JSON logs, escaped text."""
