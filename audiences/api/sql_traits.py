"""Warehouses and SQL traits by REST."""

from drf_spectacular.utils import extend_schema
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Errors, Success, answer, done
from access.errors import invalid, settings_inside
from access.requests import ApiRequest
from audiences import sql_traits as services
from audiences.api.sql_serializers import (
    ChangeSqlTrait,
    ChangeWarehouse,
    CreateSqlTrait,
    CreateWarehouse,
    PreviewSqlTrait,
    RunSqlTrait,
    SqlPreviewAnswer,
    SqlRunSerializer,
    SqlTraitAnswer,
    SqlTraitSerializer,
    WarehouseAnswer,
    WarehouseSerializer,
    WarehouseTestAnswer,
)
from audiences.models import SqlTrait, Warehouse
from spaces import personal
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs


@needs("space.read", POST="space.admin")
class WarehousesView(PagedView):
    pagination_class = Pages.of("warehouses")

    @extend_schema(operation_id="list_warehouses", responses=WarehouseSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's warehouses, oldest first. Passwords are masked."""
        return self.paged(request.space.warehouses.all(), WarehouseSerializer)

    @extend_schema(operation_id="create_warehouse", request=CreateWarehouse, responses={201: WarehouseAnswer})
    @settings_inside("settings")
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new warehouse. It is not asked for anything yet."""
        warehouse = services.create_warehouse(request.space, **parsed(CreateWarehouse, request), by=request)
        return answer(WarehouseAnswer, 201, warehouse=warehouse)


@needs("space.read", PATCH="space.admin", DELETE="space.admin")
class WarehouseView(APIView):
    @extend_schema(operation_id="get_warehouse", responses=WarehouseAnswer)
    def get(self, request: ApiRequest, space_id: str, warehouse_id: str) -> Response:
        """One warehouse. Its password is masked."""
        return answer(WarehouseAnswer, warehouse=_warehouse(request, warehouse_id))

    @extend_schema(operation_id="change_warehouse", request=ChangeWarehouse, responses=WarehouseAnswer)
    @settings_inside("settings")
    def patch(self, request: ApiRequest, space_id: str, warehouse_id: str) -> Response:
        """What is given changes."""
        warehouse = _warehouse(request, warehouse_id)
        services.change_warehouse(warehouse, **parsed(ChangeWarehouse, request), by=request)
        return answer(WarehouseAnswer, warehouse=warehouse)

    @extend_schema(operation_id="delete_warehouse", responses={200: Success, 409: Errors})
    def delete(self, request: ApiRequest, space_id: str, warehouse_id: str) -> Response:
        """It is gone, unless SQL traits are asked of it."""
        services.delete_warehouse(_warehouse(request, warehouse_id), by=request)
        return done()


@needs("space.admin")
@lane(CALLS)
class WarehouseTestView(APIView):
    @extend_schema(operation_id="check_warehouse", request=None, responses=WarehouseTestAnswer)
    def post(self, request: ApiRequest, space_id: str, warehouse_id: str) -> Response:
        """Whether it answers."""
        # Why not, in the database's own words: who sets a warehouse up can do more with them than with ours.
        why = services.test_warehouse(_warehouse(request, warehouse_id))
        return answer(WarehouseTestAnswer, test={"ok": not why, "message": why})


@needs("space.read", POST="space.use")
class SqlTraitsView(PagedView):
    pagination_class = Pages.of("sqlTraits")

    @extend_schema(operation_id="list_sql_traits", responses=SqlTraitSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's SQL traits, oldest first."""
        return self.paged(request.space.sql_traits.select_related("warehouse"), SqlTraitSerializer)

    @extend_schema(operation_id="create_sql_trait", request=CreateSqlTrait, responses={201: SqlTraitAnswer})
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new SQL trait. Its first run begins at once."""
        body = parsed(CreateSqlTrait, request)
        warehouse = _asked_for(request, body.pop("warehouseId"))
        trait = services.create_sql_trait(request.space, warehouse=warehouse, clock=clock, by=request, **body)
        return answer(SqlTraitAnswer, 201, sqlTrait=trait)


@needs("space.read", PATCH="space.use", DELETE="space.use")
class SqlTraitView(APIView):
    @extend_schema(operation_id="get_sql_trait", responses=SqlTraitAnswer)
    def get(self, request: ApiRequest, space_id: str, sql_trait_id: str) -> Response:
        """Its query, its schedule, and the traits that it gives."""
        return answer(SqlTraitAnswer, sqlTrait=_sql_trait(request, sql_trait_id))

    @extend_schema(operation_id="change_sql_trait", request=ChangeSqlTrait, responses=SqlTraitAnswer)
    def patch(self, request: ApiRequest, space_id: str, sql_trait_id: str) -> Response:
        """What is given changes. A query counts from the next run on."""
        trait = _sql_trait(request, sql_trait_id)
        services.change_sql_trait(trait, clock=clock, by=request, **parsed(ChangeSqlTrait, request))
        return answer(SqlTraitAnswer, sqlTrait=trait)

    @extend_schema(operation_id="delete_sql_trait", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, sql_trait_id: str) -> Response:
        """It is not asked any more. What it said stays with the people."""
        services.delete_sql_trait(_sql_trait(request, sql_trait_id), by=request)
        return done()


@needs("space.use")
@lane(CALLS)
class SqlPreviewView(APIView):
    @extend_schema(operation_id="preview_sql_trait", request=PreviewSqlTrait, responses=SqlPreviewAnswer)
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """The first ten rows of a query, and who of them is known. Changes nothing."""
        body = parsed(PreviewSqlTrait, request)
        preview = services.preview_sql(_asked_for(request, body["warehouseId"]), body["query"])
        # Values of a preview are rows of the customer's database: they are masked like everything personal.
        rows = [
            {
                "identifier": personal.value(preview.id, row.identifier),
                "known": row.known,
                "values": personal.payload(dict(row.values)),
            }
            for row in preview.rows
        ]
        return answer(SqlPreviewAnswer, preview={"id": preview.id, "rows": rows})


@needs("space.use")
class SqlTraitRunView(APIView):
    @extend_schema(operation_id="run_sql_trait", request=RunSqlTrait, responses=SqlTraitAnswer)
    def post(self, request: ApiRequest, space_id: str, sql_trait_id: str) -> Response:
        """A run begins within seconds."""
        trait = _sql_trait(request, sql_trait_id)
        # Not run here: a query may take minutes, and no request may wait for it.
        services.run_now(trait, **parsed(RunSqlTrait, request), clock=clock, by=request)
        trait.refresh_from_db()
        return answer(SqlTraitAnswer, sqlTrait=trait)


@needs("space.read")
class SqlRunsView(PagedView):
    pagination_class = Pages.of("runs", order="-id")

    @extend_schema(operation_id="list_sql_trait_runs", responses=SqlRunSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, sql_trait_id: str) -> Response:
        """Its runs, newest first."""
        return self.paged(_sql_trait(request, sql_trait_id).runs.all(), SqlRunSerializer)


def _warehouse(request: ApiRequest, public_id: str) -> Warehouse:
    return get_object_or_404(request.space.warehouses, public_id=public_id)


def _asked_for(request: ApiRequest, public_id: str) -> Warehouse:
    """The warehouse that a body names."""
    warehouse: Warehouse | None = request.space.warehouses.filter(public_id=public_id).first()
    if warehouse is None:
        raise invalid("There is no such warehouse.", "warehouseId")
    return warehouse


def _sql_trait(request: ApiRequest, public_id: str) -> SqlTrait:
    return get_object_or_404(request.space.sql_traits.select_related("warehouse"), public_id=public_id)
