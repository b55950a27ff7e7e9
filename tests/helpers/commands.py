"""Calling the command line in this process."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from jaxadv.cli.main import run


def call(*arguments):
    """Run the command line in this process as the console script does; code, out, err."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["jaxadv", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        try:
            run()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()
