from django.apps import AppConfig


class PromptsConfig(AppConfig):
    name = "apps.prompts"
    verbose_name = "Prompts"
