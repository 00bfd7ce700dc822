"""Addresses of the pages about a project's label quality."""

from django.urls import path

from apps.quality import views

urlpatterns = [
    path("projects/<slug:slug>/quality/", views.quality, name="quality"),
    path("projects/<slug:slug>/quality/annotators.csv", views.annotators_csv, name="quality-csv"),
    path("projects/<slug:slug>/quality/annotators/<int:annotator_id>/", views.annotator, name="quality-annotator"),
]
