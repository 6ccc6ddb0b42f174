"""The web process: Django behind the front that reads bodies and keeps each kind of work to its lane."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personas_site.settings")
django.setup(set_prefix=False)

from personas_site.front import Front, lane_of  # noqa: E402 - they ask the views, which need the apps
from personas_site.requests import Handler  # noqa: E402

application = Front(Handler(), lane_of)
