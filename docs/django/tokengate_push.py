"""Keeps the triggers of push-postgresql.sql where they belong: after each `migrate` they are made anew (docs/DJANGO.md).

Copy both files into the project and call `connect()` in `ready` of one of its AppConfigs. It does something on PostgreSQL only;
the other databases have no way to tell a gateway.
"""

from pathlib import Path

from django.apps import apps
from django.db import connections
from django.db.models.signals import post_migrate

TRIGGERS = Path(__file__).with_name("push-postgresql.sql")


def make_triggers(using, **_):
    connection = connections[using]
    if connection.vendor == "postgresql" and "authtoken_token" in connection.introspection.table_names():
        with connection.cursor() as cursor:
            cursor.execute(TRIGGERS.read_text())


def connect():
    post_migrate.connect(make_triggers, sender=apps.get_app_config("authtoken"), dispatch_uid="tokengate")
