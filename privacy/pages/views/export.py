"""Everything that is known about a person, to look at and to take along."""

from collections.abc import Iterator

from django.http import Http404, StreamingHttpResponse

from access.requests import PageRequest
from access.services import audit
from identity.queries import profile_of
from privacy.export import as_html, as_json, parts_of
from spaces.clock import clock
from spaces.needs import needs


@needs("space.pii")
def export(request: PageRequest, workspace: str, space: str, profile: str) -> StreamingHttpResponse:
    """As a file: a page that needs nothing else; with `?as=json` JSON."""
    person = profile_of(request.space, profile)
    if person is None:
        raise Http404
    audit(request, "privacy.exported", request.space, profile=person.public_id)
    parts, id = parts_of(request.space, person), person.public_id
    if request.GET.get("as") == "json":
        return _file(as_json(parts), f"{id}.json", "application/json")
    page = as_html(parts, title=id, space=request.space.name, now=clock.now())
    return _file(page, f"{id}.html", "text/html; charset=utf-8")


def _file(content: Iterator[str], name: str, type: str) -> StreamingHttpResponse:
    # Not shown in the console: it has a style of its own, and values that anybody may have sent.
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingHttpResponse(content, content_type=type, headers=headers)
