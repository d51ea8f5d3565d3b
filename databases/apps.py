"""The Django app `stoker.databases`: its migration creates the outbox's tables in the default database."""

from __future__ import annotations

from typing import Final

from django.apps import AppConfig


class StokerConfig(AppConfig):  # type: ignore[misc]  # Django ships no types
    """Named in INSTALLED_APPS as "stoker.databases"."""

    name: Final = "stoker.databases"
    label: Final = "stoker"
    verbose_name: Final = "Stoker"
