"""The poll thread: what it fetches, holds back and hands on."""
