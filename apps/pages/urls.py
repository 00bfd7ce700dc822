"""Addresses of home, the project page and its comparisons."""

from django.urls import path

from apps.pages import views

urlpatterns = [
    path("", views.home, name="home"),
    path("projects/<slug:slug>/", views.project, name="project"),
    path("projects/<slug:slug>/comparisons/", views.comparisons, name="comparisons"),
    path("projects/<slug:slug>/comparisons/<int:comparison_id>/", views.comparison, name="comparison"),
]
