"""Addresses of snapshots."""

from django.urls import path

from apps.exports import views

urlpatterns = [
    path("projects/<slug:slug>/snapshots/", views.snapshots, name="snapshots"),
    path("projects/<slug:slug>/snapshots/<int:snapshot_id>/", views.snapshot, name="snapshot"),
    path(
        "projects/<slug:slug>/snapshots/<int:snapshot_id>/<slug:export_format>/<slug:split>.jsonl",
        views.snapshot_file,
        name="snapshot-file",
    ),
]
