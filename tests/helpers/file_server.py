"""A server on this machine that hands out a test's files, whole or from a byte on."""

from helpers import local_server


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


def serving():
    """Serve files until the block ends."""
    return local_server.serving(_Handler, Files())


class _Handler(local_server.Handler):
    def do_GET(self):
        name = self.path.removeprefix("/")
        said = self.headers.get("Range")
        first = int(said.removeprefix("bytes=").removesuffix("-")) if said else 0
        self.served.asked.append((name, first))
        if name in self.served.elsewhere:
            return self._send(302, b"", {"Location": self.served.elsewhere[name]})
        if name not in self.served.files:
            return self._send(404, b"")
        data = self.served.files[name]
        if self.served.ignores_range or said is None:
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
        cut, self.served.cut = self.served.cut, None
        self.wfile.write(data[:cut])
        self.close_connection = cut is not None
