"""A Django project in one file. It trusts the headers of the gateway, because only the gateways reach it."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY=os.urandom(32).hex(),  # no sessions and no signed values outlive the process
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
)


def whoami(request):
    names = ["X-User-Id", "X-User-Name", "X-Token-Id", "X-Auth-Method", "X-Request-Id"]
    return JsonResponse({name: request.headers.get(name) for name in names})


urlpatterns = [path("whoami/", whoami)]
application = get_wsgi_application()
