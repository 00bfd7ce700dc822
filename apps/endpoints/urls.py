"""Addresses of one's own language models."""

from django.urls import path

from apps.endpoints import views

urlpatterns = [
    path("account/models/", views.endpoints, name="model-endpoints"),
    path("account/models/<int:endpoint_id>/", views.endpoint, name="model-endpoint"),
    path("account/models/<int:endpoint_id>/test/", views.test, name="model-endpoint-test"),
    path("account/models/<int:endpoint_id>/delete/", views.remove, name="model-endpoint-delete"),
]
