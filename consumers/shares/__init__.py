"""Shares: the workers of a fleet keep a limit together, over one log and with a coordinator among them."""
