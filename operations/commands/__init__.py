"""All commands of `stoker`, one module each, but those of `control_commands/` and `index_commands/`."""
