"""The Celery application. Tasks are in pipeline.py."""

import os
import sys

from celery import Celery
from celery.signals import task_postrun, task_prerun
from django.db import close_old_connections
from kombu.transport.virtual import Channel

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personas_site.settings")

Channel.do_restore = False  # settings, CELERY_BROKER_TRANSPORT_OPTIONS

app = Celery("personas")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.include = ["personas_site.pipeline"]
app.conf.task_default_queue = "bulk"
app.conf.beat_scheduler = "personas_site.beat:Scheduler"
app.conf.beat_schedule = {
    "beat": {"task": "personas_site.pipeline.beat", "schedule": 1.0},
    "clean": {"task": "personas_site.pipeline.clean", "schedule": 3600.0, "options": {"queue": "bulk"}},
}
# A thread keeps its connection to PostgreSQL from task to task, as those of the web do from request to request: Celery
# would close it around each task, and a new one costs more than what a task does with a single event.
app.conf.CELERY_DB_REUSE_MAX = sys.maxsize
for signal in (task_prerun, task_postrun):
    signal.connect(close_old_connections)
