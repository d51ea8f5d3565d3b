"""Gates: what holds back a ready job for now, and why."""
