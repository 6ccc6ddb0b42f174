"""The Celery application. Tasks are in pipeline.py."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personas_site.settings")

app = Celery("personas")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.include = ["personas_site.pipeline"]
app.conf.task_routes = {"personas_site.pipeline.clean": {"queue": "bulk"}}
app.conf.task_default_queue = "live"
app.conf.beat_schedule = {
    "beat": {"task": "personas_site.pipeline.beat", "schedule": 1.0, "options": {"expires": 5}},
    "clean": {"task": "personas_site.pipeline.clean", "schedule": 3600.0},
}
