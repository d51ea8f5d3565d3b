"""Shares: the workers of a fleet keep a limit together, over one log and with a giver among them."""
