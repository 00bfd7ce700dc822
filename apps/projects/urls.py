"""Addresses of a project's settings, members and guideline."""

from django.urls import path

from apps.projects import views

urlpatterns = [
    path("projects/<slug:slug>/members/", views.members, name="members"),
    path("projects/<slug:slug>/members/<path:username>/change/", views.change_member, name="member-change"),
    path("projects/<slug:slug>/members/<path:username>/remove/", views.remove, name="member-remove"),
    path("projects/<slug:slug>/settings/", views.project_settings, name="project-settings"),
    path("projects/<slug:slug>/guideline/", views.guideline, name="guideline"),
]
