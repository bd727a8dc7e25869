"""The signal of DRF's manual: each new user gets a token at once, unless the name begins with "late"."""

import os

from django.apps import AppConfig


def give_token(instance, created, **_):
    from rest_framework.authtoken.models import Token

    if created and not instance.username.startswith("late"):
        Token.objects.create(user=instance)


class Shop(AppConfig):
    name = "shop"

    def ready(self):
        from django.contrib.auth.models import User
        from django.db.models.signals import post_save

        post_save.connect(give_token, sender=User)
        if "PUSH" in os.environ:
            import tokengate_push

            tokengate_push.connect()
