from django.contrib import admin
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.response import Response


@api_view()
def whoami(request):
    return Response({"user": request.user.username, "id": request.user.pk})


urlpatterns = [path("admin/", admin.site.urls), path("whoami/", whoami)]
