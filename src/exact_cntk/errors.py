"""Errors that a user can mend; the command line prints them as one line, without a traceback."""


class UserError(Exception):
    """Something outside the program is wrong: a file, a parameter, the machine's memory or disk."""


class InputError(UserError, ValueError):
    """An argument is wrong: the message names it, its value and what is allowed."""
