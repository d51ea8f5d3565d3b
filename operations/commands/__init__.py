"""The commands of `stoker`, a module each."""
