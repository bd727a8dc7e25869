"""`manage.py COMMAND …`, or `manage.py - CODE`, which runs code with common names imported."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

if sys.argv[1] == "-":
    import django

    django.setup()
    from django.contrib.auth.models import Group, User
    from django.contrib.sessions.models import Session
    from django.db import connection
    from django.test import Client
    from rest_framework.authtoken.models import Token

    exec(sys.argv[2])
else:
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
