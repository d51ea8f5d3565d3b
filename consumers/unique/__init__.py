"""Unique jobs: which of several jobs of one identity runs, decided by the owner of their partition."""
