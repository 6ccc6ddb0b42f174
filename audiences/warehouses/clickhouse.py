"""ClickHouse, over HTTP."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any

import clickhouse_connect
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager_options

from audiences.rules.warehouse import QueryResult, WarehouseError, WarehouseKind, WarehouseSettings
from spaces.outbound import CONNECT_S, checked_address
from spaces.settings_schema import label


class ClickhouseWarehouseSettings(WarehouseSettings, frozen=True, kw_only=True):
    port: Annotated[int, label("Port", ge=1, le=65535)] = 8443


class NoRedirects(urllib3.PoolManager):
    """Where an answer points is no address that was checked."""

    def urlopen(self, method: str, url: str, *arguments: Any, **more: Any) -> Any:
        return super().urlopen(method, url, *arguments, **more | {"redirect": False})


@contextmanager
def connected(
    settings: WarehouseSettings, *, timeout_s: int, limits: dict[str, Any], **options: Any
) -> Iterator[Client]:
    """limits: settings of every statement, beside its time. Raises WarehouseError, also for what happens inside."""
    verified = settings.tls == "verify"
    names: dict[str, Any] = {"server_hostname": settings.host, "assert_hostname": settings.host} if verified else {}
    try:
        client = clickhouse_connect.get_client(
            host=checked_address(settings.host, settings.port),
            server_host_name=settings.host,
            port=settings.port,
            username=settings.user,
            password=settings.password,
            database=settings.database,
            secure=settings.tls != "off",
            verify=verified,
            pool_mgr=NoRedirects(**get_pool_manager_options(verify=verified, **names)),
            connect_timeout=int(CONNECT_S),
            send_receive_timeout=timeout_s,
            query_limit=0,  # else the client would append a LIMIT of its own
            settings={**limits, "max_execution_time": timeout_s},
            **options,
        )
        with closing(client):
            yield client
    except (ClickHouseError, urllib3.exceptions.HTTPError) as error:
        raise WarehouseError(str(error).strip()) from error


@contextmanager
def ask(settings: ClickhouseWarehouseSettings, query: str, timeout_s: float) -> Iterator[QueryResult]:
    # 2 = nothing may be written, but a limit of time may be set.
    with (
        connected(settings, timeout_s=int(timeout_s), limits={"readonly": 2}) as client,
        client.query_rows_stream(query) as stream,
    ):
        yield QueryResult(stream.source.column_names, iter(stream))


warehouse = WarehouseKind("ClickHouse", ClickhouseWarehouseSettings, ask)
