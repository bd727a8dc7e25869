"""Creates the triggers of push-postgresql.sql after each `migrate` (docs/DJANGO.md).

Copy both files into the project and call `connect()` in `ready` of one of its AppConfigs. The names of the tables come from the
project's models: its AUTH_USER_MODEL, and the token model that `connect` gets. On other databases than PostgreSQL it does
nothing, because they cannot notify a gateway.
"""

from pathlib import Path

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connections, transaction
from django.db.models.signals import post_migrate

TRIGGERS = Path(__file__).with_name("push-postgresql.sql")


def tables(token_model):
    """Returns the keys of [store.django] in gateway.toml, with the names that the project's models use."""
    user = get_user_model()
    groups = user._meta.get_field("groups")
    membership = groups.remote_field.through
    return {
        "token_table": token_model._meta.db_table,
        "user_table": user._meta.db_table,
        "group_table": groups.related_model._meta.db_table,
        "membership_table": membership._meta.db_table,
        "membership_user_column": membership._meta.get_field(groups.m2m_field_name()).column,
    }


def make_triggers(using, token_model, **_):
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    names = tables(token_model)
    there = connection.introspection.table_names()
    if not all(name in there for key, name in names.items() if key.endswith("_table")):
        return
    quote = connection.ops.quote_name
    with transaction.atomic(using=using), connection.cursor() as cursor:
        for key, name in names.items():
            value = quote(name) if key.endswith("_table") else name
            cursor.execute("SELECT set_config(%s, %s, true)", [f"tokengate.{key}", value])
        cursor.execute(TRIGGERS.read_text())


def connect(token_model="authtoken.Token"):
    model = apps.get_model(token_model)

    def migrated(using, **_):
        make_triggers(using, model)

    sender = apps.get_app_config(model._meta.app_label)
    post_migrate.connect(migrated, sender=sender, weak=False, dispatch_uid="tokengate")
