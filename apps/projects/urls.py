"""Addresses of a project's members and guideline."""

from django.urls import path

from apps.projects import views

urlpatterns = [
    path("projects/<slug:slug>/members/", views.members, name="members"),
    path("projects/<slug:slug>/members/<path:username>/change/", views.change_member, name="member-change"),
    path("projects/<slug:slug>/members/<path:username>/remove/", views.remove, name="member-remove"),
    path("projects/<slug:slug>/guideline/", views.guideline, name="guideline"),
]
