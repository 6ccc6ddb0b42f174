"""Imports by REST: a file in parts, what its columns are, the check, the run, and the undoing."""

import json
from itertools import chain

import msgspec
from django.http import StreamingHttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Errors, answer
from access.errors import Conflict, invalid
from access.requests import ApiRequest
from access.services import NotPossible, audit
from imports import queries, services
from imports.api.serializers import (
    CheckImport,
    CreateImport,
    ImportAnswer,
    ImportPartBody,
    ImportPreviewAnswer,
    ImportProblemSerializer,
    ImportSerializer,
    ImportTemplateAnswer,
    RejectedAnswer,
)
from imports.models import ProfileImport
from imports.reports import rejected_rows, template_row
from imports.rules.rows import ColumnUse
from spaces.clock import clock
from spaces.needs import needs


@needs("space.read", POST="space.admin")
class ImportsView(PagedView):
    pagination_class = Pages.of("imports", order="-id")

    @extend_schema(operation_id="list_imports", responses=ImportSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The imports of the space, the newest first."""
        return self.paged(queries.imports_of(request.space), ImportSerializer)

    @extend_schema(operation_id="create_import", request=CreateImport, responses={201: ImportAnswer})
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """An import without its file, which is sent next, in parts."""
        of = services.begin(request.space, **parsed(CreateImport, request), now=clock.now(), by=request)
        return answer(ImportAnswer, 201, profileImport=queries.imports_of(request.space).get(pk=of.pk))


class _Import(APIView):
    def import_of(self, request: ApiRequest, import_id: str) -> ProfileImport:
        return get_object_or_404(queries.imports_of(request.space), public_id=import_id)

    def shown(self, request: ApiRequest, import_id: str, code: int = 200) -> Response:
        return answer(ImportAnswer, code, profileImport=self.import_of(request, import_id))


@needs("space.read")
class ImportView(_Import):
    @extend_schema(operation_id="get_import", responses=ImportAnswer)
    def get(self, request: ApiRequest, space_id: str, import_id: str) -> Response:
        """One import, and how far it is."""
        return self.shown(request, import_id)


@needs("space.admin")
class ImportPartsView(_Import):
    @extend_schema(operation_id="send_import_part", request=ImportPartBody, responses={200: ImportAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, import_id: str) -> Response:
        """A part of the file, of at most 4 MB. One that was sent before changes nothing."""
        # The offset makes a repetition harmless, for clients that did not hear the answer.
        of, body = self.import_of(request, import_id), parsed(ImportPartBody, request)
        services.add_part(of, body["content"], offset=body["offset"], now=clock.now())
        return self.shown(request, import_id)


@needs("space.admin")
class ImportCompleteView(_Import):
    @extend_schema(operation_id="complete_import", request=None, responses={200: ImportAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, import_id: str) -> Response:
        """That was the last part. The header is read, and what its columns are is guessed."""
        services.complete(self.import_of(request, import_id), now=clock.now())
        return self.shown(request, import_id)


@needs("space.read")
class ImportPreviewView(_Import):
    @extend_schema(operation_id="preview_import", responses=ImportPreviewAnswer)
    def get(self, request: ApiRequest, space_id: str, import_id: str) -> Response:
        """The first rows of the file."""
        of = self.import_of(request, import_id)
        return answer(ImportPreviewAnswer, rows=queries.preview(of), context={"header": of.header})


@needs("space.admin")
class ImportCheckView(_Import):
    @extend_schema(operation_id="check_import", request=CheckImport, responses={202: ImportAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, import_id: str) -> Response:
        """Every row is checked, and counted, with the columns used so. Nothing is imported yet."""
        of, uses = self.import_of(request, import_id), parsed(CheckImport, request)["columns"]
        try:
            services.start_check(of, msgspec.convert(uses, list[ColumnUse]), now=clock.now(), by=request)
        # Named by the place of the column: the caller sent a list of them.
        except services.MappingError as error:
            raise invalid(str(error), f"columns[{error.place}]") from error
        except NotPossible as error:
            raise Conflict(str(error)) from error
        return self.shown(request, import_id, 202)


@needs("space.admin")
class ImportStartView(_Import):
    @extend_schema(operation_id="start_import", request=None, responses={202: ImportAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, import_id: str) -> Response:
        """The good rows of an import that is checked are imported, in the background."""
        services.start(self.import_of(request, import_id), clock=clock, by=request)
        return self.shown(request, import_id, 202)


@needs("space.admin")
class ImportCancelView(_Import):
    @extend_schema(operation_id="cancel_import", request=None, responses={200: ImportAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, import_id: str) -> Response:
        """No more of it is sent. What was sent stays until it is undone."""
        services.cancel(self.import_of(request, import_id), now=clock.now(), by=request)
        return self.shown(request, import_id)


@needs("space.admin")
class ImportUndoView(_Import):
    @extend_schema(operation_id="undo_import", request=None, responses={202: ImportAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, import_id: str) -> Response:
        """Profiles, traits, audiences and destinations become as if it had never been, in the background."""
        services.undo(self.import_of(request, import_id), now=clock.now(), by=request)
        return self.shown(request, import_id, 202)


@needs("space.read")
class ImportProblemsView(PagedView):
    pagination_class = Pages.of("problems", order="id")

    @extend_schema(operation_id="list_import_problems", responses=ImportProblemSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, import_id: str) -> Response:
        """The first 200 that the check has found; `rejected` has all."""
        of = get_object_or_404(queries.imports_of(request.space), public_id=import_id)
        return self.paged(of.problems.all(), ImportProblemSerializer)


@needs("space.admin")
class ImportRejectedView(_Import):
    @extend_schema(operation_id="list_rejected_rows", responses=RejectedAnswer)
    def get(self, request: ApiRequest, space_id: str, import_id: str) -> StreamingHttpResponse:
        """All rows that cannot be imported, with the reason. It is streamed, however many there are."""
        of = self.import_of(request, import_id)
        # The values of rejected rows are of people, as those of an export are.
        audit(request, "exported", request.space, id=of.public_id)
        rows = (
            json.dumps({"row": int(row), "reason": reason, "values": values})
            for row, reason, *values in rejected_rows(of)
        )
        # Written by hand: DRF would render all rows before the first is sent.
        parts = (f", {row}" if place else row for place, row in enumerate(rows))
        return StreamingHttpResponse(chain(['{"data": {"rows": ['], parts, ["]}}"]), content_type="application/json")


@needs("space.read")
class ImportTemplateView(APIView):
    @extend_schema(operation_id="import_template", responses=ImportTemplateAnswer)
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The columns that a file for this space may have: its identifiers, and two examples of traits."""
        return answer(ImportTemplateAnswer, columns=template_row(request.space))
