"""The address of images."""

from django.urls import path

from apps.core import views

urlpatterns = [path("images/", views.image, name="image")]
