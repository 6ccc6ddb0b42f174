"""`python -m benchmarks.sink`: takes whatever is sent to it by HTTP and answers 200, as cheaply as Python can.

It prints its port first. In a process of its own, it takes no time from whoever is measured.
"""

import asyncio
import re

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Sink(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._read, self._left = transport, b"", 0

    def data_received(self, data: bytes) -> None:
        """left: bytes of the body that are still to come, of a request whose head was read."""
        if self._left > len(data):
            self._left -= len(data)
            return
        if self._left:
            data, self._left = data[self._left :], 0
            self._transport.write(ANSWER)
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self._read, 0, end)
            rest = self._read[end + 4 :]
            wanted = int(length.group(1)) if length else 0
            if wanted > len(rest):
                self._left, self._read = wanted - len(rest), b""
                return
            self._read = rest[wanted:]
            self._transport.write(ANSWER)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
