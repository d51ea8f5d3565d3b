"""A Django project in one file: it migrates, and enqueues in its transactions and in tests that are rolled back.

Arguments: the URL of an empty database. It prints what it finds, one JSON object.
"""

from __future__ import annotations

import json
import sys
import unittest
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command

from stoker.databases import NoTransaction, TransactionAborted
from stoker.producers.outbox import Outbox
from support.scenes.shop import declare_shop


def database(url: str) -> dict[str, Any]:
    """Django's form of a URL."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path.removeprefix("/")}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.removeprefix("/"),
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


def main() -> None:
    """See the module."""
    settings.configure(DATABASES={"default": database(sys.argv[1])}, INSTALLED_APPS=["stoker.databases"], USE_TZ=True)
    django.setup()
    call_command("migrate", verbosity=0)
    print(json.dumps(scenes()))


def scenes() -> dict[str, Any]:
    """What is in the outbox after each scene, or which error there was."""
    from django.db import connection, connections, transaction

    shop = declare_shop("shop")
    outbox = Outbox(shop.pipeline)
    found: dict[str, Any] = {}
    with transaction.atomic():
        outbox.enqueue(connection, shop.charge.with_options(job_id="proxy"), "ada", 1)
        outbox.enqueue(connections["default"], shop.charge.with_options(job_id="wrapper"), "ada", 1)
        outbox.enqueue_many(connection, [shop.charge.with_options(job_id=f"m{n}").call("ada", n) for n in range(2)])
        try:
            with transaction.atomic():
                outbox.enqueue(connection, shop.charge.with_options(job_id="savepoint"), "ada", 1)
                raise ValueError
        except ValueError:
            pass
    found["committed"] = ids(connection)
    try:
        with transaction.atomic():
            outbox.enqueue(connection, shop.charge.with_options(job_id="undone"), "ada", 1)
            raise ValueError
    except ValueError:
        found["rolled back"] = ids(connection)
    try:
        outbox.enqueue(connection, shop.charge, "ada", 1)
    except NoTransaction as refusal:
        found["without transaction"] = str(refusal)
    with transaction.atomic():
        transaction.set_rollback(True)
        try:
            outbox.enqueue(connection, shop.charge, "ada", 1)
        except TransactionAborted:
            found["broken"] = True
    found["test"] = run_test(outbox, shop)
    found["after test"] = ids(connection)
    call_command("migrate", "stoker", "zero", verbosity=0)
    found["tables"] = [name for name in connection.introspection.table_names() if "outbox" in name]
    return found


def ids(connection: Any) -> list[str]:
    """The jobs in the outbox."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT job_id FROM stoker_outbox ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def run_test(outbox: Outbox, shop: Any) -> bool:
    """A test case of a user's: Django rolls its transaction back."""
    from django.db import connection
    from django.test import TestCase

    class OrderTest(TestCase):  # type: ignore[misc]  # Django ships no types
        def test_an_order_enqueues_its_receipt(self) -> None:
            outbox.enqueue(connection, shop.charge.with_options(job_id="in-test"), "ada", 1)
            assert "in-test" in ids(connection)

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(OrderTest)
    return unittest.TextTestRunner(stream=sys.stderr).run(suite).wasSuccessful()


if __name__ == "__main__":
    main()
