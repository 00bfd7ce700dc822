"""Addresses of imports."""

from django.urls import path

from apps.imports import views

urlpatterns = [path("projects/<slug:slug>/import/", views.import_file, name="import-file")]
