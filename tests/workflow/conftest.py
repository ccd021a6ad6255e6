"""The fixtures of these tests. Being here, it puts their helpers on the path."""

from checkouts import finished, finished_once, fresh  # noqa: F401
