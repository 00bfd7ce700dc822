"""Addresses of reward models and training runs."""

from django.urls import path

from apps.reward_models import search_views, views

PROJECT = "projects/<slug:slug>"

urlpatterns = [
    path(f"{PROJECT}/reward-models/", views.reward_models, name="reward-models"),
    path(f"{PROJECT}/reward-models/<int:model_id>/", views.version, name="reward-model"),
    path(f"{PROJECT}/reward-models/<int:model_id>/card/", views.model_card, name="reward-model-card"),
    path(f"{PROJECT}/reward-models/<int:model_id>/evaluate/", views.evaluate, name="reward-model-evaluate"),
    path(f"{PROJECT}/reward-models/<int:model_id>/roll-back/", views.roll_back_version, name="reward-model-roll-back"),
    path(f"{PROJECT}/reward-models/<int:model_id>/promote/", views.promote_version, name="reward-model-promote"),
    path(f"{PROJECT}/training-runs/start/", views.start, name="training-start"),
    path(f"{PROJECT}/training-runs/<int:run_id>/", views.training_run, name="training-run"),
    path(f"{PROJECT}/training-runs/<int:run_id>/resume/", views.resume, name="training-resume"),
    path(f"{PROJECT}/recipe-searches/start/", search_views.start, name="recipe-search-start"),
    path(f"{PROJECT}/recipe-searches/<int:search_id>/", search_views.recipe_search, name="recipe-search"),
    path(f"{PROJECT}/recipe-searches/<int:search_id>/use/<int:trial>/", search_views.use, name="recipe-search-use"),
    path(f"{PROJECT}/scoring/start/", views.score, name="scoring-start"),
    path(f"{PROJECT}/settings/retraining/", views.policy, name="retrain-policy"),
    path(f"{PROJECT}/settings/queue/", views.queue_settings, name="queue-settings"),
]
