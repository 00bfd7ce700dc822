"""Addresses of webhooks."""

from django.urls import path

from apps.webhooks import views

WEBHOOK = "projects/<slug:slug>/webhooks/<int:webhook_id>"

urlpatterns = [
    path("projects/<slug:slug>/webhooks/", views.webhooks, name="webhooks"),
    path(f"{WEBHOOK}/", views.webhook, name="webhook"),
    path(f"{WEBHOOK}/secret/", views.rotate, name="webhook-rotate"),
    path(f"{WEBHOOK}/switch/", views.switch, name="webhook-switch"),
    path(f"{WEBHOOK}/test/", views.test, name="webhook-test"),
    path(f"{WEBHOOK}/delete/", views.remove, name="webhook-delete"),
    path(f"{WEBHOOK}/messages/<int:delivery_id>/", views.message, name="webhook-message"),
    path(f"{WEBHOOK}/messages/<int:delivery_id>/replay/", views.replay, name="webhook-replay"),
]
