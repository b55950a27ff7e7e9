"""Download files: resumed after an interruption, checked against a hash, never executed.

A file is written under a temporary name and renamed once it is complete.
"""

import hashlib
import http.client
import logging
import os
import time
from io import BufferedRandom
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from jaxadv.formats.errors import PortingError

_log = logging.getLogger(__name__)

_PATIENCE = 30  # seconds without a byte
_BLOCK = 1 << 18  # bytes read at once
_SECONDS_A_LINE = 5
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_RANGE_NOT_SATISFIABLE = 416


def download(name: str, address: str, path: Path, sha256: str) -> None:
    """Fetch a file, or check the one that is there, for which no connection is needed.

    Two processes that want one file do not both fetch it: the second waits. The log of this module
    says how far a long download is.

    Args:
      name: what messages call it.
      address: https, or http on this machine.
      path: where it is to be; its folder is made.
      sha256: what its SHA-256 begins with, in hexadecimal. Where that is not known (empty), any
        bytes are taken, and a download that was cut off begins again, as nothing could tell whether
        its two halves are of one file.

    Raises:
      PortingError: it cannot be fetched or written, or has another SHA-256. Nothing is left under
        its name; what was fetched before the connection broke is kept.
    """
    try:
        if path.is_file():
            _check_kept(name, path, sha256)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{path}.part", "a+b") as part:
            _lock(part)
            if path.is_file():  # another process has fetched it meanwhile
                return
            if not sha256:
                part.truncate(0)
            _receive(name, address, part)
            _check_received(name, address, part, sha256)
            os.replace(part.name, path)
    except OSError as problem:
        reason = problem.strerror or "failed"
        raise PortingError(f"{name}: {path} cannot be written or read ({reason})") from None


def _lock(file: BufferedRandom) -> None:
    """Wait until no other process has the file locked; closing it unlocks it."""
    import fcntl  # here, as Windows has none, and nothing else needs it

    fcntl.flock(file, fcntl.LOCK_EX)


def _check_kept(name: str, path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise PortingError(
            f"{name}: {path} has not the bytes that its owner names; delete it and try again"
        )


def _check_received(name: str, address: str, part: BufferedRandom, sha256: str) -> None:
    """Refuse and drop what has not the SHA-256 that it should have."""
    part.seek(0)
    found = hashlib.file_digest(part, "sha256").hexdigest()
    if not sha256:
        _log.warning("%s: its owner says no hash; its SHA-256 is %s", name, found)
    elif not found.startswith(sha256):
        part.truncate(0)
        raise PortingError(
            f"{name}: {address} has the SHA-256 {found}, which does not begin with {sha256}, so it "
            "is not kept; try again, or get it elsewhere"
        )


def _receive(name: str, address: str, part: BufferedRandom) -> None:
    """Append what is missing.

    Raises:
      PortingError: it cannot be fetched, or not to its end.
    """
    done = part.seek(0, os.SEEK_END)
    response = _ask(name, address, done)
    if response is None:
        return
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            part.truncate(0)
            done = 0
        total = None if response.length is None else done + response.length
        of = "" if total is None else f" of {total / 1e6:.1f}"
        _log.warning("%s: fetching %s", name, address)
        said = time.monotonic()
        while block := _next(name, response):
            part.write(block)
            done += len(block)
            if time.monotonic() - said > _SECONDS_A_LINE:
                said = time.monotonic()
                _log.warning("%s: %.1f%s MB", name, done / 1e6, of)
    if total is not None and done < total:
        raise PortingError(f"{name}: cut off after {done:,} of {total:,} bytes; try again")


def _next(name: str, response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as problem:
        raise PortingError(f"{name}: cut off ({_line(problem)}); try again") from None


def _ask(name: str, address: str, done: int) -> http.client.HTTPResponse | None:
    """Ask for a file from a byte on; None where it has no more than these.

    Raises:
      PortingError: there is no answer, or no file.
    """
    if not _is_safe(address):
        raise PortingError(f"{name}: {address} is not fetched, as it is not https")
    headers = {"User-Agent": "jaxadv"} | ({"Range": f"bytes={done}-"} if done else {})
    host = urlsplit(address).hostname
    try:
        request = Request(address, headers=headers)
        response: http.client.HTTPResponse = build_opener(_Redirects).open(request, None, _PATIENCE)
    except HTTPError as problem:
        problem.close()
        if problem.code == _RANGE_NOT_SATISFIABLE and done:
            return None
        if 300 <= problem.code < 400:
            said = f"{host} sends on in a circle, or to an address that is not https"
        elif problem.code in (404, 410):
            said = f"{address} is not there ({problem.code})"
        else:
            said = f"{host} answers {problem.code}"
        raise PortingError(f"{name}: {said}") from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise PortingError(
            f"{name}: not on this machine, and {host} cannot be reached ({_line(problem)})"
        ) from None
    return response


class _Redirects(HTTPRedirectHandler):
    """Follows to where a first address would be allowed, too."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if not _is_safe(newurl):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_safe(address: str) -> bool:
    """Return whether nobody on the way can change what is fetched from an address."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _THIS_MACHINE)


def _line(problem: Exception) -> str:
    """Say in a few words why a connection failed."""
    reason = getattr(problem, "reason", problem)
    said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return said.split("\n")[0]
