from django.apps import AppConfig


class PersonasSiteConfig(AppConfig):
    name = "personas_site"
