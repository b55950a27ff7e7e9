"""A server on this machine that hands out a test's files, whole or from a byte on."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Files:
    """What the server has and how it behaves.

    Attributes:
      files: bytes by name.
      cut: after how many bytes the connection breaks, the next time alone.
      ignores_range: whether it sends the whole file whatever is asked for.
      elsewhere: addresses that it sends on to, by name.
      asked: the name and the first byte of every request, 0 where it is not said.
    """

    def __init__(self):
        self.files, self.elsewhere = {}, {}
        self.cut, self.ignores_range = None, False
        self.asked = []
        self.address = ""


@contextmanager
def serving():
    """Serve files until the block ends."""
    files = Files()

    class Handler(_Handler):
        pass

    Handler.files = files
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.removeprefix("/")
        said = self.headers.get("Range")
        first = int(said.removeprefix("bytes=").removesuffix("-")) if said else 0
        self.files.asked.append((name, first))
        if name in self.files.elsewhere:
            return self._send(302, b"", {"Location": self.files.elsewhere[name]})
        if name not in self.files.files:
            return self._send(404, b"")
        data = self.files.files[name]
        if self.files.ignores_range or said is None:
            return self._send(200, data)
        if first >= len(data):
            return self._send(416, b"")
        place = f"bytes {first}-{len(data) - 1}/{len(data)}"
        return self._send(206, data[first:], {"Content-Range": place})

    def _send(self, status, data, headers=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        cut, self.files.cut = self.files.cut, None
        self.wfile.write(data[:cut])
        self.close_connection = cut is not None
