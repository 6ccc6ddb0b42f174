"""How Celery's beat runs here."""

from typing import Any

from celery.beat import PersistentScheduler
from django.db import close_old_connections

BEAT = "personas_site.pipeline.beat"


class Scheduler(PersistentScheduler):
    """Celery's own, but beat looks for work itself: a task that asks what was forgotten must not wait in a queue."""

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        if entry.task != BEAT:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        if advance:
            self.reserve(entry)
        close_old_connections()
        try:
            self.app.tasks[BEAT].run()
        finally:
            close_old_connections()
        return None
