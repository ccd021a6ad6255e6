"""What is printed does not fail for want of letters."""

import io
import sys

from exact_cntk import cli
from exact_cntk._support.console import escape_output


def test_letters_that_the_output_lacks_are_escaped(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    escape_output()
    print("97.1 ± 0.2 – größer", flush=True)
    assert written.getvalue() == b"97.1 \\xb1 0.2 \\u2013 gr\\xf6\\xdfer\n"


def test_other_outputs_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    escape_output()
    print("±")
    assert sys.stdout.getvalue() == "±\n"


def test_the_command_line_does_so(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(cli, "app", lambda: print("±", flush=True))
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    cli.main()
    assert written.getvalue() == b"\\xb1\n"
