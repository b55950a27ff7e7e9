"""An HTTP server on this machine, for a test's own handler."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers without a line on the screen, and keeps connections open."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


@contextmanager
def serving(handler, served):
    """Serve until the block ends.

    Args:
      handler: a class of handlers, which find `served` as their attribute.
      served: what there is; its `address` is set.
    """
    made = type(handler.__name__, (handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), made)
    served.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
