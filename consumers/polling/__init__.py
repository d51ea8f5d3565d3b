"""The poll thread: it fetches records, holds delayed ones, dispatches ready ones and commits."""
