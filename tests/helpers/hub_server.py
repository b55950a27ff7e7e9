"""A server on this machine that answers as the Hugging Face Hub does, with models of a test's own.

It knows what the Hub's client asks: a model's revision, its list of files, and the files themselves
in parts. What goes wrong on the real one can be asked for.
"""

import hashlib
import json
from collections import Counter
from urllib.parse import unquote

from helpers import local_server

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What the server has and how it behaves.

    Attributes:
      models: files by name, for each OWNER/NAME.
      gated: models whose terms nobody has accepted.
      cut: files that are cut off in the middle the first time.
      damaged: files whose bytes are others than the Hub's hash says.
      asked: how often each path was asked for, with its method.
    """

    def __init__(self):
        self.models, self.gated, self.cut, self.damaged = {}, set(), set(), set()
        self.asked = Counter()
        self.address = ""


def serving():
    """Serve models until the block ends."""
    return local_server.serving(_Handler, Hub())


class _Handler(local_server.Handler):
    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        path = unquote(self.path.split("?")[0])
        self.served.asked[self.command, path] += 1
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._about("/".join(parts[2:4]), parts[4:], body)
        elif parts[2:3] != ["resolve"]:
            self._refuse(404, "EntryNotFound")
        else:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body)

    def _model(self, name):
        if name in self.served.gated:
            return self._refuse(401, "GatedRepo")
        if name not in self.served.models:
            return self._refuse(404, "RepoNotFound")
        return self.served.models[name]

    def _about(self, name, rest, body):
        files = self._model(name)
        if files is None:
            return
        if rest[:1] == ["tree"]:
            entries = [
                {
                    "type": "file",
                    "path": path,
                    "size": len(data),
                    "oid": hashlib.sha1(data).hexdigest(),
                    "lfs": {"oid": _sha256(data), "size": len(data), "pointerSize": 100},
                }
                for path, data in files.items()
            ]
            return self._send(json.dumps(entries).encode(), body)
        if rest[1:2] not in ([], ["main"], [COMMIT]):
            return self._refuse(404, "RevisionNotFound")
        about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]}
        return self._send(json.dumps(about).encode(), body)

    def _file(self, name, revision, path, body):
        files = self._model(name)
        if files is None:
            return
        if path not in files:
            return self._refuse(404, "EntryNotFound")
        data = files[path]
        sent = data[::-1] if path in self.served.damaged else data
        first, status = 0, 200
        if wanted := self.headers.get("Range"):
            first, status = int(wanted.removeprefix("bytes=").split("-")[0]), 206
        headers = {
            "ETag": f'"{_sha256(data)}"',
            "X-Linked-Etag": f'"{_sha256(data)}"',
            "X-Linked-Size": str(len(data)),
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        cut = body and path in self.served.cut
        self.served.cut -= {path} if cut else set()
        return self._send(sent[first:], body, headers, status, cut)

    def _refuse(self, status, code):
        self._send(b"{}", self.command == "GET", {"X-Error-Code": code}, status)

    def _send(self, data, body, headers=None, status=200, cut=False):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if body and cut:
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(data)


def _sha256(data):
    return hashlib.sha256(data).hexdigest()
