"""Addresses of jobs."""

from django.urls import path

from apps.jobs import views

urlpatterns = [
    path("projects/<slug:slug>/jobs/<int:job_id>/", views.job, name="job"),
    path("projects/<slug:slug>/jobs/<int:job_id>/cancel/", views.cancel, name="job-cancel"),
]
