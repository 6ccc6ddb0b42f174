"""The embedded ClickHouse, asked by the client we use and by hand where that client is too polite."""

import base64
import gzip
import http.client
import json
import os
import resource
import socket
import threading
import time
import urllib.parse
from contextlib import closing, suppress

import clickhouse_connect
import lz4.frame
import psutil
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from pyroaring import BitMap

from personas_site.embedded import clickhouse
from personas_site.embedded.paths import Paths
from personas_site.embedded.supervisor import Supervisor


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, within=15.0):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    environ = {**os.environ, "PERSONAS_CLICKHOUSE_PORT": str(free_port())}
    paths = Paths(tmp_path_factory.mktemp("clickhouse"), environ)
    with Supervisor(paths.home, stores_only=True, environ=environ, stores=[clickhouse.service(paths)]):
        yield paths


@pytest.fixture(scope="module")
def client(paths):
    with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url, autogenerate_session_id=False)) as client:
        yield client


@pytest.fixture
def table(client):
    client.command("CREATE OR REPLACE TABLE rows (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    yield "rows"
    client.command("DROP TABLE rows")


def ask(paths, body=b"", *, method="POST", path="/", headers=None, token=None, within_s=20, **params):
    """One request by hand: status, headers, body."""
    basic = base64.b64encode(f"personas:{token or paths.clickhouse_token}".encode()).decode()
    with closing(http.client.HTTPConnection("127.0.0.1", paths.clickhouse_port, timeout=within_s)) as connection:
        url = f"{path}?{urllib.parse.urlencode(params)}" if params else path
        connection.request(method, url, body, {"Authorization": f"Basic {basic}", **(headers or {})})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


# The client we use


def test_an_unmodified_client_connects_with_its_defaults(paths):
    with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url)) as client:
        assert client.ping()
        assert client.command("SELECT 40 + 2") == 42


def test_every_frame_of_a_compressed_insert_arrives(client, table):
    client.insert(table, [[i, f"s{i}"] for i in range(300_000)], column_names=["a", "s"])
    assert client.query(f"SELECT count(), sum(a), uniqExact(s) FROM {table}").result_rows == [
        (300_000, 299_999 * 150_000, 300_000)
    ]


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_each_compression_works_both_ways(paths, table, compress):
    with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url, compress=compress)) as client:
        client.insert(table, [[i, "x" * 20] for i in range(100_000)], column_names=["a", "s"])
        rows = client.query(f"SELECT a, s FROM {table} ORDER BY a").result_rows
    assert len(rows) == 100_000
    assert rows[-1] == (99_999, "x" * 20)


def test_summary_says_what_was_written(client, table):
    summary = client.insert(table, [[1, "x"], [2, "y"]], column_names=["a", "s"], settings={"query_id": "mine"})
    assert summary.written_rows == 2
    assert summary.query_id() == "mine"


def test_summary_says_what_was_read(client):
    summary = client.query("SELECT number FROM numbers(300000) WHERE number % 3 = 0").summary
    assert summary["result_rows"] == "100000"
    assert int(summary["read_rows"]) > 100_000  # the engine may keep its last figures to itself


def test_a_name_the_client_chose_cannot_forge_a_header(paths):
    status, headers, body = ask(paths, b"SELECT 1", query_id="x\r\nX-Forged: 1")
    assert (status, body, headers["X-Forged"]) == (200, b"1\n", None)


def test_arrow_both_ways(client, table):
    client.insert_arrow(table, pa.table({"a": pa.array([1, 2], pa.uint64()), "s": ["x", "ü\n"]}))
    assert client.query_arrow(f"SELECT a, s FROM {table} ORDER BY a").to_pydict() == {"a": [1, 2], "s": ["x", "ü\n"]}


def test_empty_results(client, table):
    assert client.query(f"SELECT * FROM {table}").result_rows == []
    assert client.query_arrow(f"SELECT * FROM {table}").num_rows == 0
    assert client.raw_query(f"SELECT * FROM {table}", fmt="RowBinary") == b""


@pytest.mark.parametrize("members", [[], [0], list(range(32)), list(range(33)), list(range(0, 3_000_000, 3))])
def test_bitmaps_go_in_and_come_out_as_roaring(client, members):
    client.command(
        "CREATE OR REPLACE TABLE maps (k UInt8, b AggregateFunction(groupBitmap, UInt32)) ENGINE = MergeTree ORDER BY k"
    )
    client.raw_insert("maps", ["k", "b"], b"\x01" + packed(BitMap(members)), fmt="RowBinary")
    assert client.command("SELECT groupBitmapMerge(b) FROM maps") == len(members)
    assert unpacked(client.raw_query("SELECT b FROM maps", fmt="RowBinary")) == BitMap(members)


def packed(bitmap):
    """A groupBitmapState over UInt32."""
    if len(bitmap) <= 32:
        return bytes([0, len(bitmap)]) + b"".join(n.to_bytes(4, "little") for n in bitmap)
    portable = bitmap.serialize()
    size, varint = len(portable), b""
    while size >= 0x80:
        varint, size = varint + bytes([size & 0x7F | 0x80]), size >> 7
    return b"\x01" + varint + bytes([size]) + portable


def unpacked(state):
    if state[0] == 0:
        return BitMap(int.from_bytes(state[2 + 4 * i : 6 + 4 * i], "little") for i in range(state[1]))
    start = 1
    while state[start] & 0x80:
        start += 1
    return BitMap.deserialize(state[start + 1 :])


def test_json_columns(client):
    client.command("CREATE OR REPLACE TABLE docs (k UInt8, j JSON) ENGINE = MergeTree ORDER BY k")
    client.insert("docs", [[1, {"plan": "pro", "n": 3}], [2, {"plan": "free"}]], column_names=["k", "j"])
    assert client.query("SELECT k FROM docs WHERE j.plan = 'pro' AND j.n::Int64 = 3").result_rows == [(1,)]
    assert client.query("SELECT j FROM docs ORDER BY k").result_rows[1][0] == {"plan": "free"}


ODD_VALUES = ["it's", "a\nb\tc", "back\\slash", "ü 漢字 🙂", "", "{a:String}", "`\"'"]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_parameters_arrive_as_they_are(client, table, value):
    assert client.query("SELECT {v:String}", parameters={"v": value}).result_rows == [(value,)]
    assert client.query("SELECT {v:Array(String)}", parameters={"v": [value, "x"]}).result_rows == [([value, "x"],)]
    assert client.command("SELECT {v:String} = {v:String}", parameters={"v": value}) == 1


@pytest.mark.parametrize("value", [*ODD_VALUES, "\r\n\r\n--x\r\n", "\x0b\u2028\x85"])
def test_parameters_arrive_as_they_are_in_a_form(paths, value):
    with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url, form_encode_query_params=True)) as client:
        assert client.query("SELECT {v:String}", parameters={"v": value}).result_rows == [(value,)]


def test_parameters_too_long_for_a_url_come_as_a_form(client):
    many = list(range(50_000))
    counted = client.query(
        "SELECT count() FROM numbers(60000) WHERE number IN {l:Array(UInt64)}", parameters={"l": many}
    )
    assert counted.result_rows == [(50_000,)]


def test_parameters_in_an_insert(paths, client, table):
    client.command(f"INSERT INTO {table} SELECT number, {{s:String}} FROM numbers(3)", parameters={"s": "it's"})
    assert client.command(f"SELECT count() FROM {table} WHERE s = 'it\\'s'") == 3
    assert ask(paths, b"INSERT INTO {t:Identifier} FORMAT TSV\n9\tq\n", param_t=table)[0] == 200
    assert client.command(f"SELECT count() FROM {table}") == 4


def test_a_big_result_is_streamed(client):
    with client.query_row_block_stream("SELECT number, toString(number) FROM numbers(1000000)") as blocks:
        assert sum(len(block) for block in blocks) == 1_000_000


# Settings


def test_settings_in_the_url_hold_for_one_statement(client):
    read = "SELECT getSetting('max_block_size')"
    default = client.command(read)
    assert client.command(read, settings={"max_block_size": 1234}) == 1234
    assert {client.command(read) for _ in range(20)} == {default}


def test_insert_settings_reach_the_engine(client):
    """A deduplication token drops the second insert: the proof that the first one's settings were not ignored."""
    client.command(
        "CREATE OR REPLACE TABLE once (a UInt64) ENGINE = MergeTree ORDER BY a "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    for _ in range(2):
        client.insert("once", [[1]], column_names=["a"], settings={"insert_deduplication_token": "t1"})
    assert client.command("SELECT count() FROM once") == 1
    client.insert("once", [[1]], column_names=["a"], settings={"insert_deduplication_token": "t2"})
    assert client.command("SELECT count() FROM once") == 2


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"max_fancy": "1"}, 115),
        ({"max_threads": "many"}, 27),
        ({"a b": "1"}, 115),
        ({"role": "admin"}, 48),
        ({"decompress": "1"}, 48),
    ],
)
def test_what_cannot_be_applied_is_refused(paths, settings, code):
    _, headers, _ = ask(paths, b"SELECT 1", **settings)
    assert headers["X-ClickHouse-Exception-Code"] == str(code)


def test_a_statement_ends_at_its_time_limit(client):
    begun = time.monotonic()
    with pytest.raises(DatabaseError, match="TIMEOUT_EXCEEDED") as error:
        client.query("SELECT sum(sipHash64(number)) FROM numbers(100000000000)", settings={"max_execution_time": 1})
    assert error.value.code == 159
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("sql", ["SET max_threads = 1", "/* x */ use system", "CREATE TEMPORARY TABLE t (a Int8)"])
def test_what_would_need_a_session_is_refused(client, sql):
    with pytest.raises(DatabaseError, match="keeps no state"):
        client.command(sql)


def test_the_database_of_a_request(paths, client):
    client.command("CREATE DATABASE IF NOT EXISTS other")
    status, _, body = ask(paths, b"SELECT currentDatabase()", database="other")
    assert (status, body) == (200, b"other\n")
    assert ask(paths, b"SELECT 1", database="nowhere")[0] == 404


# Errors


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEKT 1", 400, 62),
        ("SELECT x", 404, 47),
        ("SELECT * FROM nowhere", 404, 60),
        ("INSERT INTO nowhere (a) FORMAT TSV\n1\n", 404, 60),
        ("SELECT 1; SELECT 2", 400, 62),
        ("SELECT throwIf(1)", 500, 395),
        ("SELECT 1 FORMAT Fancy", 404, 73),
        ("", 400, 62),
        ("-- nothing", 400, 62),
    ],
)
def test_errors_speak_clickhouse(paths, sql, status, code):
    got, headers, body = ask(paths, sql.encode(), default_format="TSV")
    assert (got, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert body.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert b"(version " in body


def test_a_late_error_in_a_stream_is_an_error(client):
    sql = "SELECT throwIf(number = 5000000) FROM numbers(10000000)"
    with pytest.raises(DatabaseError, match="throwIf"):
        client.query(sql)
    with pytest.raises(StreamFailureError, match="throwIf"), client.query_row_block_stream(sql) as blocks:
        for _ in blocks:
            pass
    assert client.command("SELECT 1") == 1


def test_a_bad_row_fails_the_insert(client, table):
    with pytest.raises(DatabaseError):
        client.raw_insert(table, ["a", "s"], "1\tx\nnot a number\ty\n", fmt="TSV")
    assert client.command(f"SELECT count() FROM {table}") == 0


@pytest.mark.parametrize(
    ("refusing", "code"),
    [("ADD CONSTRAINT few CHECK a < 2", 469), ("MODIFY SETTING parts_to_throw_insert = 1", 252)],
)
def test_rows_that_the_table_does_not_take_are_not_acknowledged(client, table, refusing, code):
    client.insert(table, [[1]], column_names=["a"])
    client.command(f"ALTER TABLE {table} {refusing}")
    with pytest.raises(DatabaseError) as refused:
        client.insert(table, [[2], [3]], column_names=["a"])
    assert refused.value.code == code
    assert client.command(f"SELECT count() FROM {table}") == 1


def test_an_insert_may_have_settings_of_its_own(client, table):
    client.command(f"INSERT INTO {table} (a) SETTINGS max_block_size = 1, async_insert = 0 FORMAT TSV\n1\n2\n")
    assert client.command(f"SELECT sum(a) FROM {table}") == 3


def test_an_insert_of_nothing(client, table):
    client.raw_insert(table, ["a"], b"", fmt="TSV")
    assert client.command(f"SELECT count() FROM {table}") == 0


@pytest.mark.parametrize("keep", [10, -5])
def test_a_cut_compressed_body_inserts_nothing(paths, client, table, keep):
    body = lz4.frame.compress(f"INSERT INTO {table} (a, s) FORMAT TSV\n".encode() + b"1\tx\n" * 1000)
    status, _, _ = ask(paths, body[:keep], headers={"Content-Encoding": "lz4"})
    assert status == 400
    assert client.command(f"SELECT count() FROM {table}") == 0


def test_an_error_does_not_end_the_connection(paths):
    headers = {"Authorization": "Basic " + base64.b64encode(f"personas:{paths.clickhouse_token}".encode()).decode()}
    with closing(http.client.HTTPConnection("127.0.0.1", paths.clickhouse_port, timeout=20)) as connection:
        connection.request("POST", "/", b"SELECT x" + b" " * 3_000_000, headers)
        assert connection.getresponse().read().startswith(b"Code: 47")
        socket_before = connection.sock
        connection.request("POST", "/", b"SELECT 1", headers)
        assert connection.getresponse().read() == b"1\n"
        assert connection.sock is socket_before


# Who may ask


@pytest.mark.parametrize("credentials", [{"token": "wrong"}, {"headers": {"Authorization": "Basic ?"}}])
def test_a_wrong_token_is_refused(paths, credentials):
    status, headers, _ = ask(paths, b"SELECT 1", **credentials)
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "516")


def test_no_token_is_refused(paths):
    with closing(http.client.HTTPConnection("127.0.0.1", paths.clickhouse_port, timeout=20)) as connection:
        connection.request("POST", "/?query=SELECT%201")
        assert connection.getresponse().status == 403


def test_the_token_may_come_in_headers_or_in_the_url(paths):
    token = paths.clickhouse_token
    nothing = {"Authorization": ""}
    headers = {**nothing, "X-ClickHouse-User": "personas", "X-ClickHouse-Key": token}
    assert ask(paths, b"SELECT 1", headers=headers)[2] == b"1\n"
    assert ask(paths, b"SELECT 1", headers=nothing, user="personas", password=token)[2] == b"1\n"
    assert ask(paths, method="GET", path="/ping", headers=nothing)[2] == b"Ok.\n"


# HTTP by hand


def test_get_reads_only(paths, table):
    assert ask(paths, method="GET", query="SELECT 1")[2] == b"1\n"
    _, headers, _ = ask(paths, method="GET", query=f"INSERT INTO {table} VALUES (1, 'x')")
    assert headers["X-ClickHouse-Exception-Code"] == "164"


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("", bytes), ("gzip", gzip.compress), ("lz4", lz4.frame.compress), ("zstd", zstandard.compress)],
)
def test_a_body_in_chunks_and_frames(paths, client, table, coding, compress):
    """The statement cut in the middle, each batch its own frame, no Content-Length."""
    text = f"INSERT INTO {table} (a, s) FORMAT TSV\n".encode() + b"".join(b"%d\tx\n" % i for i in range(1000))
    pieces = iter([compress(text[:15]), compress(text[15:50]), compress(text[50:])])
    status, _, body = ask(paths, pieces, headers={"Content-Encoding": coding} if coding else {})
    assert (status, body) == (200, b"")
    assert client.command(f"SELECT count() FROM {table}") == 1000


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("", "INSERT INTO {t} FORMAT TSV 1\tx\n"),
        ("", "INSERT INTO {t} (a, s)\nFORMAT TSV;\n1\tx\n"),
        ("", "-- c\n/* FORMAT */ insert into {t} (`a`, s) format TSV\r\n1\tx\n"),
        ("", "INSERT INTO {t} VALUES (1, 'x; FORMAT')"),
        ("", "INSERT INTO {t} SELECT 1, 'x' FORMAT TSV"),
        ("", "INSERT INTO {t} SETTINGS max_threads = 1 FORMAT TSV\n1\tx\n"),
        ("INSERT INTO {t} FORMAT TSV", "1\tx\n"),
        ("INSERT INTO {t} (a, s) VALUES", "(1, 'x')"),
        ("INSERT INTO {t} FORMAT JSONEachRow", '{"a": 1, "s": "x"}'),
    ],
)
def test_where_the_rows_of_an_insert_may_stand(paths, client, table, url, body):
    params = {"query": url.format(t=table)} if url else {}
    status, _, answer = ask(paths, (body if url else body.format(t=table)).encode(), **params)
    assert (status, answer) == (200, b"")
    assert client.query(f"SELECT a, s FROM {table}").result_rows in ([(1, "x")], [(1, "x; FORMAT")])


@pytest.mark.parametrize(
    "form", ["TSV", "TabSeparatedWithNames", "JSON", "JSONCompact", "CSVWithNames", "Parquet", "ArrowStream", "Native"]
)
def test_formats_are_whole_whatever_the_size(paths, form):
    """Several blocks in one answer: a header or a bracket must not come once for each."""
    sql = "SELECT number AS n FROM numbers(200000)"
    direct = ask(paths, f"{sql} FORMAT {form}".encode())
    default = ask(paths, sql.encode(), default_format=form)
    assert direct[1]["X-ClickHouse-Format"] == default[1]["X-ClickHouse-Format"] == form
    assert count_rows(form, direct[2]) == count_rows(form, default[2]) == 200_000


def count_rows(form, body):
    if form.startswith("JSON"):
        return len(json.loads(body)["data"])
    if form == "Parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(pa.BufferReader(body)).num_rows
    if form == "ArrowStream":
        return pa.ipc.open_stream(body).read_all().num_rows
    if form == "Native":
        return 200_000 if len(body) > 8 * 200_000 else 0
    return body.count(b"\n") - ("WithNames" in form)


def test_small_answers_come_in_one_packet(paths):
    """In two, Nagle and delayed ACKs make each wait 40 ms."""
    with socket.create_connection(("127.0.0.1", paths.clickhouse_port), timeout=5) as sock:
        sock.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(65536).endswith(b"Ok.\n")


@pytest.mark.parametrize(
    "junk", [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n"]
)
def test_what_is_not_http_is_refused(paths, junk):
    with socket.create_connection(("127.0.0.1", paths.clickhouse_port), timeout=5) as sock:
        sock.sendall(junk)
        assert sock.recv(65536).startswith(b"HTTP/1.1 400 ")


# Clients that leave


def running(client, mark):
    sql = "SELECT count() FROM system.processes WHERE query LIKE {m:String} AND query NOT LIKE '%processes%'"
    return client.command(sql, parameters={"m": f"%{mark}%"})


@pytest.mark.parametrize("form", ["Native", "Arrow"])
def test_a_query_whose_client_left_is_ended(paths, client, form):
    sql = f"SELECT sum(sipHash64(number, 'left-{form}')) FROM numbers(100000000000) FORMAT {form}"
    with leaving_client(paths, sql.encode()):
        until(lambda: running(client, f"left-{form}"))
    until(lambda: not running(client, f"left-{form}"))


def test_a_result_nobody_reads_is_ended(paths, client):
    with leaving_client(paths, b"SELECT number, 'unread' FROM numbers(1000000000) FORMAT Native") as sock:
        sock.recv(1000)
    until(lambda: not running(client, "unread"))


def test_an_insert_that_breaks_off_inserts_nothing(paths, client, table):
    body = f"INSERT INTO {table} (a, s) FORMAT TSV\n".encode() + b"1\tx\n" * 1000
    with leaving_client(paths, body, length=len(body) + 100):
        pass
    until(lambda: not running(client, f"INSERT INTO {table}"))
    assert client.command(f"SELECT count() FROM {table}") == 0


def leaving_client(paths, body, length=None):
    basic = base64.b64encode(f"personas:{paths.clickhouse_token}".encode()).decode()
    sock = socket.create_connection(("127.0.0.1", paths.clickhouse_port), timeout=20)
    head = (
        f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\nContent-Length: {length or len(body)}\r\n\r\n"
    )
    sock.sendall(head.encode() + body)
    return sock


def test_a_query_can_be_killed_by_its_id(paths, client):
    errors = []

    def slow():
        with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url)) as other:
            try:
                other.query(
                    "SELECT sum(sipHash64(number, 'slow')) FROM numbers(100000000000)", settings={"query_id": "q7"}
                )
            except DatabaseError as error:
                errors.append(error.code)

    thread = threading.Thread(target=slow)
    thread.start()
    until(lambda: running(client, "slow"))
    client.command("KILL QUERY WHERE query_id = 'q7'")
    thread.join(timeout=15)
    assert errors == [394]


# Many at once


def test_readers_and_writers_at_once(paths, table):
    """Every acknowledged row is there, and no reader sees half of a block."""
    failures, written, deadline = [], [], time.monotonic() + 3

    def work(job):
        with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url)) as client:
            try:
                while time.monotonic() < deadline:
                    job(client)
            except Exception as error:
                failures.append(error)

    def write(client):
        client.insert(table, [[i, "x"] for i in range(500)], column_names=["a", "s"])
        written.append(500)

    def read(client):
        assert client.command(f"SELECT count() FROM {table}") % 500 == 0

    threads = [threading.Thread(target=work, args=(job,)) for job in (write, write, write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url)) as client:
        assert client.command(f"SELECT count() FROM {table}") == sum(written) > 0


def test_many_connections_leave_nothing_behind(paths):
    """A thread for each; all of them end with their connections."""
    with suppress(OSError):
        socks = [socket.create_connection(("127.0.0.1", paths.clickhouse_port), timeout=5) for _ in range(200)]
    for sock in socks:
        sock.close()
    until(lambda: ask(paths, method="GET", path="/ping")[0] == 200)


def test_it_answers_again_after_it_had_no_memory_for_threads(paths):
    server = psutil.Process(json.loads(paths.pids.read_text())["clickhouse"])
    server.rlimit(resource.RLIMIT_AS, (server.memory_info().vms, resource.RLIM_INFINITY))
    try:
        for _ in range(20):
            with suppress(OSError):
                ask(paths, method="GET", path="/ping", within_s=1)
    finally:
        server.rlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    until(lambda: answers(paths))


def answers(paths):
    with suppress(OSError):
        return ask(paths, method="GET", path="/ping")[0] == 200
    return False
