"""Django's PostgreSQL backend, whose check before a request costs no statement while the connection is in use."""

import select
import time

from django.db.backends.postgresql import base

BELIEVED_FOR_S = 5.0  # after it has answered, a connection whose server says nothing is taken to be there


class DatabaseWrapper(base.DatabaseWrapper):
    """A server that ends or restarts closes its connections, and that can be seen without asking it.

    It cannot be seen of one that vanished, or of something in between that forgets idle connections: so what was not
    used for a while is asked.
    """

    health_check_enabled: bool  # Django's, which its stubs leave out
    health_check_done: bool
    _answered_at = float("-inf")

    def close_if_health_check_failed(self) -> None:
        if self.connection is None or not self.health_check_enabled or self.health_check_done:
            return
        if time.monotonic() - self._answered_at < BELIEVED_FOR_S:
            poll = select.poll()
            poll.register(self.connection.fileno(), select.POLLIN)
            if not poll.poll(0):  # nothing has come that was not asked for, such as the end
                self.health_check_done = True
                return
        super().close_if_health_check_failed()
        self._answered_at = time.monotonic() if self.connection is not None else float("-inf")
