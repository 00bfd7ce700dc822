"""Addresses of rules."""

from django.urls import path

from apps.rules import extraction_views, views

RULES = "projects/<slug:slug>/rules"

urlpatterns = [
    path(f"{RULES}/", views.rule_sets, name="rule-sets"),
    path(f"{RULES}/shown/", views.shown, name="rules-shown"),
    path(f"{RULES}/mine/", views.mine, name="rules-mine"),
    path(f"{RULES}/extractions/", extraction_views.extractions, name="rule-extractions"),
    path(f"{RULES}/extractions/<int:extraction_id>/", extraction_views.extraction, name="rule-extraction"),
    path(f"{RULES}/extractions/<int:extraction_id>/<int:place>/", extraction_views.item, name="rule-extraction-item"),
    path(f"{RULES}/<int:version>/verify/", extraction_views.verify, name="rule-set-verify"),
    path(f"{RULES}/<int:version>/", views.rule_set, name="rule-set"),
    path(f"{RULES}/<int:version>/activate/", views.activate, name="rule-set-activate"),
    path(f"{RULES}/<int:version>/measure/", views.measure, name="rule-set-measure"),
    path(f"{RULES}/<int:version>/<int:number>/", views.rule, name="rule"),
    path(f"{RULES}/<int:version>/<int:number>/decide/", views.decide, name="rule-decide"),
    path("assignments/<int:assignment_id>/rules/", views.spoken, name="assignment-rules"),
]
