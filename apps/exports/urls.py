"""Addresses of snapshots."""

from django.urls import path

from apps.exports import views

SNAPSHOT = "projects/<slug:slug>/snapshots/<int:snapshot_id>/"

urlpatterns = [
    path("projects/<slug:slug>/snapshots/", views.snapshots, name="snapshots"),
    path(SNAPSHOT, views.snapshot, name="snapshot"),
    path(f"{SNAPSHOT}card/", views.snapshot_card, name="snapshot-card"),
    path(f"{SNAPSHOT}diff/", views.snapshot_diff, name="snapshot-diff"),
    path(f"{SNAPSHOT}<slug:export_format>/<str:file>", views.snapshot_file, name="snapshot-file"),
]
