"""A project as `django-admin startproject` creates it, with DRF's tokens. The database comes from the environment."""

import json
import os

DATABASES = {"default": json.loads(os.environ["DATABASE"])}
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    import pymysql

    # Django checks the version of another driver.
    pymysql.version_info = (2, 2, 8, "final", 0)
    pymysql.__version__ = "2.2.8"
    pymysql.install_as_MySQLdb()

SECRET_KEY = "for tests alone"
ROOT_URLCONF = "shop.urls"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "rest_framework",
    "rest_framework.authtoken",
    "shop.apps.Shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}

# The custom user model.
if "PEOPLE" in os.environ:
    INSTALLED_APPS.append("people")
    AUTH_USER_MODEL = "people.Person"

# The settings of docs/DJANGO.md.
if "IDENTITY" in os.environ:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    AUTHENTICATION_BACKENDS = ["tokengate_identity.GatewayBackend", "django.contrib.auth.backends.ModelBackend"]
    MIDDLEWARE.append("tokengate_identity.GatewayMiddleware")
    REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"] = ["tokengate_identity.GatewayAuthentication"]
if "CSRF" in os.environ:
    CSRF_COOKIE_NAME = "djangocsrf"
