"""What the log must not say."""

import logging
import re

SECRET = re.compile(r"(/(?:invitations|welcome|password/[^/\s]+)/)[^/\s?'\"]+")


class Secretless(logging.Filter):
    """Addresses of links that let somebody in are logged without their secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if SECRET.search(message):
            record.msg, record.args = SECRET.sub(r"\1…", message), ()
        return True
