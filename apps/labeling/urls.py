"""Addresses of the annotator's pages, and of those of the people who watch over the queue."""

from django.urls import path

from apps.labeling import oversight_views, views

urlpatterns = [
    path("projects/<slug:slug>/queue/", views.queue, name="queue"),
    path("projects/<slug:slug>/queue/release/", views.release, name="queue-release"),
    path("projects/<slug:slug>/queue/undo/", views.undo, name="queue-undo"),
    path("projects/<slug:slug>/queue/guideline/", views.accept, name="guideline-accept"),
    path("projects/<slug:slug>/my-work/", views.my_work, name="my-work"),
    path("assignments/<int:assignment_id>/", views.assignment, name="assignment"),
    path("assignments/<int:assignment_id>/submit/", views.submit, name="assignment-submit"),
    path("assignments/<int:assignment_id>/skip/", views.skip, name="assignment-skip"),
    path("assignments/<int:assignment_id>/draft/", views.draft, name="assignment-draft"),
    path("assignments/<int:assignment_id>/next/", views.following, name="assignment-next"),
    path("assignments/<int:assignment_id>/reopen/", views.reopen, name="assignment-reopen"),
    path("assignments/<int:assignment_id>/take-up/", views.take_up, name="assignment-take-up"),
    path("projects/<slug:slug>/flags/", oversight_views.flags, name="flags"),
    path("projects/<slug:slug>/comparisons/close/", oversight_views.close, name="comparisons-close"),
    path("projects/<slug:slug>/comparisons/put-back/", oversight_views.reopen, name="comparisons-put-back"),
    path("projects/<slug:slug>/cohorts/", oversight_views.cohorts, name="cohorts"),
    path("projects/<slug:slug>/cohorts/<int:cohort_id>/", oversight_views.cohort, name="cohort"),
    path("projects/<slug:slug>/cohorts/<int:cohort_id>/delete/", oversight_views.remove_cohort, name="cohort-delete"),
]
