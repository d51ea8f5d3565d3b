"""The commands of `stoker`, one module each."""
