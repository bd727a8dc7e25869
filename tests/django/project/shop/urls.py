from django.contrib import admin
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.response import Response


@api_view()
def whoami(request):
    return Response({"user": request.user.username, "id": request.user.pk})


@api_view(["POST"])
def data(request):
    return Response({"got": request.data})


def page(request):
    return HttpResponse(request.user.get_username() or "nobody")


def form(request):
    if request.method == "POST":
        return HttpResponse(request.user.get_username())
    return HttpResponse(f'<form><input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}"></form>')


def address(request):
    return HttpResponse(request.build_absolute_uri())


urlpatterns = [
    path("admin/", admin.site.urls),
    path("whoami/", whoami),
    path("data/", data),
    path("page/", page),
    path("form/", form),
    path("address/", address),
]
