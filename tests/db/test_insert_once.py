"""An insert that was done and never acknowledged is not sent again by the driver: only a new batch number may do so."""

import http.client
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.exceptions import OperationalError

from sources.events import archive_table, client
from sources.events.sql import sql
from tests.factories import SourceFactory

pytestmark = pytest.mark.django_db


class Severing(BaseHTTPRequestHandler):
    """Passes everything on to ClickHouse, and resets the connection of an insert once it is done."""

    protocol_version = "HTTP/1.1"
    upstream = ""
    inserts: list[str] = []

    def do_POST(self):
        url = urlsplit(self.upstream)
        onward = http.client.HTTPConnection(url.hostname, url.port)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        onward.request("POST", self.path, body, dict(self.headers))
        answer = onward.getresponse()
        said = answer.read()
        if "INSERT" in self.path or body.startswith(b"INSERT"):
            self.inserts.append(self.path)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def severed(settings):
    """ClickHouse is reached by a line that breaks after every insert."""
    Severing.upstream, Severing.inserts = settings.CLICKHOUSE_URL, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Severing)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    real = urlsplit(settings.CLICKHOUSE_URL)
    secret = real.netloc.rpartition("@")[0]
    where = f"127.0.0.1:{server.server_port}"
    settings.CLICKHOUSE_URL = real._replace(netloc=f"{secret}@{where}" if secret else where).geturl()
    yield Severing.inserts
    settings.CLICKHOUSE_URL = Severing.upstream
    server.shutdown()
    server.server_close()


def test_an_insert_whose_answer_was_lost_is_sent_once(severed):
    source = SourceFactory()
    row = archive_table.ArchivedRow(1_000, 1_000, "track", "Seen", "m1", b"{}")
    with pytest.raises(OperationalError):
        archive_table.insert(workspace_id=source.workspace_id, source_id=source.pk, piece=1, rows=[row])
    assert len(severed) == 1
    count = sql("SELECT count() FROM archive WHERE workspace = %s", source.workspace_id)
    assert client.rows(count)[0][0] == 1
