"""What the API takes as a body: JSON of bounded size and depth that every store can keep."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from access.errors import TooLarge, invalid
from spaces.text import is_storable

DEEPEST = 64  # lists and objects below the outermost one


class Json(JSONParser):
    """Raises ParseError, or a 413 before anything is read."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        length = (parser_context or {})["request"].META.get("CONTENT_LENGTH")
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        # Django's own limit would answer 400, which clients take for a mistake in what they wrote.
        if length and length.isdigit() and int(length) > most:
            raise TooLarge(f"A body may have {most} bytes.")
        try:
            body = super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise _too_deep() from error
        for text in _texts(body):
            if not is_storable(text):
                raise ParseError("A text holds a character that cannot be kept: NUL, or half of a surrogate pair.")
        return body


def parsed(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """The body, validated. Raises ValidationError with every wrong field; a field that is not known is wrong."""
    if not isinstance(request.data, dict):
        raise invalid("The body must be a JSON object.")
    form = serializer(data=request.data)
    form.is_valid()
    # DRF drops a field that it does not know; a misspelt one would be a change that never happened.
    wrong = {**form.errors, **{name: ["Unknown field."] for name in request.data if name not in form.fields}}
    if wrong:
        raise ValidationError(wrong)
    return dict(form.validated_data)


def _texts(body: Any) -> Iterator[str]:
    """Every key and every text, level by level. Raises ParseError below the deepest."""
    # By levels and not by recursion: what is too deep for Python's stack is refused before anything walks it.
    level = [body]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict):
                yield from value
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        if not below:
            return
        level = below
    raise _too_deep()


def _too_deep() -> ParseError:
    return ParseError("The body is nested too deep.")
