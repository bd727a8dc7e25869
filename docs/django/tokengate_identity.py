"""Reads the caller from the gateway's headers, for Django REST Framework and for Django's own pages (docs/DJANGO.md).

Copy this file into the project. A client that reaches Django without the gateway can impersonate any user: let Django listen
on a Unix socket, or on an address that only the gateway can reach.
"""

from urllib.parse import unquote

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import RemoteUserBackend
from django.contrib.auth.middleware import RemoteUserMiddleware
from rest_framework.authentication import RemoteUserAuthentication

# The headers `user_id` and `user_name` of [identity.headers], as WSGI and ASGI spell them.
USER_ID = "HTTP_X_USER_ID"
USER_NAME = "HTTP_X_USER_NAME"


def user_name(request):
    return unquote(request.META.get(USER_NAME, ""))


class GatewayBackend(RemoteUserBackend):
    """Finds the user, for AUTHENTICATION_BACKENDS. Id and name must both match. No user is ever created."""

    def authenticate(self, request, remote_user):
        users = get_user_model()
        named = {users.USERNAME_FIELD: user_name(request)}
        user = users.objects.filter(pk=remote_user, **named).first() if remote_user else None
        return user if user and self.user_can_authenticate(user) else None

    async def aauthenticate(self, request, remote_user):
        users = get_user_model()
        named = {users.USERNAME_FIELD: user_name(request)}
        user = await users.objects.filter(pk=remote_user, **named).afirst() if remote_user else None
        return user if user and self.user_can_authenticate(user) else None


class GatewayAuthentication(RemoteUserAuthentication):
    """For DEFAULT_AUTHENTICATION_CLASSES. Without the header a request is anonymous; there is no session."""

    header = USER_ID

    def authenticate_header(self, request):
        return "Token"


class GatewayMiddleware(RemoteUserMiddleware):
    """For Django's own pages, after AuthenticationMiddleware. Keeps a session, and ends it when the header is missing."""

    header = USER_ID

    def clean_username(self, username, request):
        return user_name(request)
