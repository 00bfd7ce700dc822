"""Addresses of imports."""

from django.urls import path

from apps.imports import views

urlpatterns = [
    path("projects/<slug:slug>/import/", views.import_file, name="import-file"),
    path("projects/<slug:slug>/imports/", views.imports, name="imports"),
    path("projects/<slug:slug>/imports/<int:import_id>/", views.import_page, name="import"),
    path("projects/<slug:slug>/imports/<int:import_id>/undo/", views.undo, name="import-undo"),
    path("projects/<slug:slug>/imports/<int:import_id>/report.<slug:wanted>", views.report, name="import-report"),
]
