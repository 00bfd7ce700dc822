"""Addresses of the annotator's pages."""

from django.urls import path

from apps.labeling import views

urlpatterns = [
    path("projects/<slug:slug>/queue/", views.queue, name="queue"),
    path("projects/<slug:slug>/my-work/", views.my_work, name="my-work"),
    path("assignments/<int:assignment_id>/", views.assignment, name="assignment"),
    path("assignments/<int:assignment_id>/submit/", views.submit, name="assignment-submit"),
    path("assignments/<int:assignment_id>/skip/", views.skip, name="assignment-skip"),
    path("assignments/<int:assignment_id>/draft/", views.draft, name="assignment-draft"),
    path("assignments/<int:assignment_id>/take-up/", views.take_up, name="assignment-take-up"),
]
