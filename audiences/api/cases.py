"""Test cases by REST: those of an audience or a computed trait, and what comes of each."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.parsers import parsed
from access.api.serializers import Errors, Success, answer, done
from access.errors import NOTHING, Conflict, invalid
from access.requests import ApiRequest
from access.services import NotPossible
from audiences import cases, services
from audiences.api.case_serializers import CaseAnswer, CasesAnswer, RunCases, RunTraitCases, WriteCase
from audiences.api.errors import wrong
from audiences.api.traits import of_trait
from audiences.api.views import owner_of
from audiences.failures import unreadable
from audiences.models import Audience
from audiences.rules.cases import DefinitionCase, parse_case
from audiences.rules.validation import DefinitionError
from spaces.lanes import QUERIES, lane
from spaces.needs import needs


@needs("space.read", POST="space.use")
@lane(QUERIES)
class CasesView(APIView):
    @extend_schema(operation_id="list_test_cases", responses={200: CasesAnswer, 409: Errors})
    def get(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """The test cases, and what comes of each by the newest definition."""
        return answer(CasesAnswer, cases=_run(owner_of(request, ids)))

    @extend_schema(operation_id="create_test_case", request=WriteCase, responses={201: CaseAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """A new test case, whether it holds now or not. From now on it is asked whenever a definition is saved."""
        # First: a stranger learns nothing from what is wrong with a body.
        row = owner_of(request, ids)
        kept = services.add_case(row, _read(request, row), by=request)
        return _one(row, kept.id, 201)


@needs("space.read")
@lane(QUERIES)
class RunCasesView(APIView):
    body: type[RunCases] | type[RunTraitCases] = RunCases

    @extend_schema(operation_id="run_test_cases", request=RunCases, responses={200: CasesAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """What comes of the test cases by a definition that is not saved. Changes nothing."""
        return answer(CasesAnswer, cases=_run(owner_of(request, ids), parsed(self.body, request).get("definition")))


@needs("space.read", PUT="space.use", DELETE="space.use")
@lane(QUERIES)
class CaseView(APIView):
    @extend_schema(operation_id="change_test_case", request=WriteCase, responses={200: CaseAnswer, 409: Errors})
    def put(self, request: ApiRequest, space_id: str, case_id: str, **ids: str) -> Response:
        """The test case is what the body says; what is left out is as in a new one."""
        row = owner_of(request, ids)
        if case_id not in {kept["id"] for kept in row.cases}:  # before the body: nobody mends one that is not there
            raise NotFound(NOTHING)
        try:
            services.change_case(row, case_id, _read(request, row), by=request)
        except NotPossible as error:
            raise NotFound(NOTHING) from error
        return _one(row, case_id, 200)

    @extend_schema(operation_id="delete_test_case", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, case_id: str, **ids: str) -> Response:
        """The test case is gone."""
        try:
            services.remove_case(owner_of(request, ids), case_id, by=request)
        except NotPossible as error:
            raise NotFound(NOTHING) from error
        return done()


TraitCasesView = of_trait(CasesView, get="list_trait_test_cases", post="create_trait_test_case")
TraitCaseView = of_trait(CaseView, put="change_trait_test_case", delete="delete_trait_test_case")


@extend_schema_view(post=extend_schema(operation_id="run_trait_test_cases", request=RunTraitCases))
class RunTraitCasesView(RunCasesView):
    body = RunTraitCases


def _read(request: ApiRequest, row: Audience) -> DefinitionCase:
    parsed(WriteCase, request)
    try:
        # As it was sent, since serializers would turn one type into another.
        return parse_case(request.data, of_trait=row.kind == Audience.Kind.TRAIT, of=row.of)
    except DefinitionError as error:
        raise invalid(error.message, error.path) from error


def _one(row: Audience, id: str, status: int) -> Response:
    (outcome,) = [outcome for outcome in _run(row) if outcome.kept.id == id]
    return answer(CaseAnswer, status, case=outcome)


def _run(row: Audience, definition: Any = None) -> list[cases.CaseOutcome]:
    try:
        return cases.run(row, definition)
    except DefinitionError as error:
        if definition is not None:
            raise wrong(error) from error
        raise Conflict(unreadable(error)) from error
