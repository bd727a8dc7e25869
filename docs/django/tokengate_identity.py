"""Who is calling, as the gateway says it (docs/DJANGO.md): for Django REST Framework, and for pages of Django's own.

Copy it into the project. Whoever reaches Django without the gateway can say anything: let Django listen on a Unix socket or
on an address that only the gateway reaches.
"""

from urllib.parse import unquote

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import RemoteUserBackend
from django.contrib.auth.middleware import RemoteUserMiddleware
from rest_framework.authentication import RemoteUserAuthentication

# The fields `user_id` and `user_name` of [identity.headers], as WSGI and ASGI spell them.
USER_ID = "HTTP_X_USER_ID"
USER_NAME = "HTTP_X_USER_NAME"


def user_name(request):
    return unquote(request.META.get(USER_NAME, ""))


class GatewayBackend(RemoteUserBackend):
    """Finds who is calling, for AUTHENTICATION_BACKENDS. Id and name must both be right, and nobody is ever created."""

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
    """For DEFAULT_AUTHENTICATION_CLASSES. No field is nobody; there is no session that could say otherwise."""

    header = USER_ID

    def authenticate_header(self, request):
        return "Token"


class GatewayMiddleware(RemoteUserMiddleware):
    """For pages of Django's own: stands behind AuthenticationMiddleware. It keeps a session, and ends it when no field comes."""

    header = USER_ID

    def clean_username(self, username, request):
        return user_name(request)
