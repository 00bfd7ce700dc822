"""Every address: pages here, the REST API under /api/v1/, Django's admin under /admin/."""

from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
