"""Test cases by REST: those of an audience or a computed trait, and what comes of each."""

from typing import Any

from drf_spectacular.utils import extend_schema
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
from audiences.api.traits import trait_of
from audiences.api.views import audience_of, wrong
from audiences.failures import unreadable
from audiences.models import Audience
from audiences.rules.cases import DefinitionCase, parse_case
from audiences.rules.validation import DefinitionError
from spaces.lanes import QUERIES, lane
from spaces.needs import needs


@needs("space.read", POST="space.use")
@lane(QUERIES)
@extend_schema(tags=["audiences"])
class CasesView(APIView):
    @extend_schema(operation_id="list_test_cases", responses={200: CasesAnswer, 409: Errors})
    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """The test cases of an audience, and what comes of each by its newest definition."""
        return outcomes(audience_of(request, audience_id))

    @extend_schema(operation_id="create_test_case", request=WriteCase, responses={201: CaseAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """A new test case, whether it holds now or not. From now on it is asked whenever a definition is saved."""
        return created(request, audience_of(request, audience_id))


@needs("space.read")
@lane(QUERIES)
@extend_schema(tags=["audiences"])
class RunCasesView(APIView):
    @extend_schema(operation_id="run_test_cases", request=RunCases, responses={200: CasesAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """What comes of the test cases by a definition that is not saved. Changes nothing."""
        return outcomes(audience_of(request, audience_id), parsed(RunCases, request).get("definition"))


@needs("space.read", PUT="space.use", DELETE="space.use")
@lane(QUERIES)
@extend_schema(tags=["audiences"])
class CaseView(APIView):
    @extend_schema(operation_id="change_test_case", request=WriteCase, responses={200: CaseAnswer, 409: Errors})
    def put(self, request: ApiRequest, space_id: str, audience_id: str, case_id: str) -> Response:
        """The test case is what the body says; what is left out is as in a new one."""
        return changed(request, audience_of(request, audience_id), case_id)

    @extend_schema(operation_id="delete_test_case", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, audience_id: str, case_id: str) -> Response:
        """The test case is gone."""
        return removed(request, audience_of(request, audience_id), case_id)


@needs("space.read", POST="space.use")
@lane(QUERIES)
@extend_schema(tags=["computed traits"])
class TraitCasesView(APIView):
    @extend_schema(operation_id="list_trait_test_cases", responses={200: CasesAnswer, 409: Errors})
    def get(self, request: ApiRequest, space_id: str, trait_id: str) -> Response:
        """The test cases of a computed trait, and the value that comes of each by its newest definition."""
        return outcomes(trait_of(request, trait_id))

    @extend_schema(operation_id="create_trait_test_case", request=WriteCase, responses={201: CaseAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, trait_id: str) -> Response:
        """A new test case. From now on it is asked whenever a definition is saved."""
        return created(request, trait_of(request, trait_id))


@needs("space.read")
@lane(QUERIES)
@extend_schema(tags=["computed traits"])
class RunTraitCasesView(APIView):
    @extend_schema(
        operation_id="run_trait_test_cases", request=RunTraitCases, responses={200: CasesAnswer, 409: Errors}
    )
    def post(self, request: ApiRequest, space_id: str, trait_id: str) -> Response:
        """What comes of the test cases by a definition that is not saved. Changes nothing."""
        return outcomes(trait_of(request, trait_id), parsed(RunTraitCases, request).get("definition"))


@needs("space.read", PUT="space.use", DELETE="space.use")
@lane(QUERIES)
@extend_schema(tags=["computed traits"])
class TraitCaseView(APIView):
    @extend_schema(operation_id="change_trait_test_case", request=WriteCase, responses={200: CaseAnswer, 409: Errors})
    def put(self, request: ApiRequest, space_id: str, trait_id: str, case_id: str) -> Response:
        """The test case is what the body says; what is left out is as in a new one."""
        return changed(request, trait_of(request, trait_id), case_id)

    @extend_schema(operation_id="delete_trait_test_case", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, trait_id: str, case_id: str) -> Response:
        """The test case is gone."""
        return removed(request, trait_of(request, trait_id), case_id)


def outcomes(row: Audience, definition: Any = None) -> Response:
    return answer(CasesAnswer, cases=_run(row, definition))


def created(request: ApiRequest, row: Audience) -> Response:
    try:
        kept = services.add_case(row, _read(request, row), by=request)
    except NotPossible as error:
        raise Conflict(str(error)) from error
    return _one(row, kept.id, 201)


def changed(request: ApiRequest, row: Audience, id: str) -> Response:
    if id not in {kept["id"] for kept in row.cases}:
        raise NotFound(NOTHING)
    try:
        services.change_case(row, id, _read(request, row), by=request)
    except NotPossible as error:
        raise NotFound(NOTHING) from error
    return _one(row, id, 200)


def removed(request: ApiRequest, row: Audience, id: str) -> Response:
    try:
        services.remove_case(row, id, by=request)
    except NotPossible as error:
        raise NotFound(NOTHING) from error
    return done()


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
