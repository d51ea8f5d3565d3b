"""Creates the outbox's tables."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

from ..outbox.table import DEFAULT_TABLE, relay_table, table_statements
from ..sql import quoted


def create(_apps: Any, schema_editor: Any) -> None:
    """Run the statements that `stoker outbox create --print` prints."""
    vendor = schema_editor.connection.vendor
    with schema_editor.connection.cursor() as cursor:
        if vendor in {"postgresql", "sqlite"}:
            for statement in table_statements(vendor):
                cursor.execute(statement)


def drop(_apps: Any, schema_editor: Any) -> None:
    """Delete the tables, and all rows that were not published."""
    with schema_editor.connection.cursor() as cursor:
        for table in (DEFAULT_TABLE, relay_table(DEFAULT_TABLE)):
            cursor.execute(f"DROP TABLE IF EXISTS {quoted(table)}")


class Migration(migrations.Migration):  # type: ignore[misc]  # Django ships no types
    """The tables of `stoker_outbox`; on another database than PostgreSQL and SQLite it does nothing."""

    operations: ClassVar = [migrations.RunPython(create, drop)]
