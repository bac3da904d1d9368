"""gRPC does not survive a fork: its threads stay behind in the parent, and any use of it in the child may hang.

So a process whose parent has used gRPC is told, by an error, instead. Clients connect at their first use: one that was made before
a fork and not used yet works in every child. gRPC's own handlers of forks are left out: they take part in every subprocess that Python
starts, and newer ones end it or this process now and then.
"""

import os
from typing import Optional

from millrace.errors import ErrorCode, MillraceError

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # read when gRPC is loaded

_user: Optional[int] = None  # the process in which gRPC was first used


def check(client: str) -> None:
    """Before gRPC is used."""
    global _user
    if _user is None:
        _user = os.getpid()
    elif _user != os.getpid():
        raise MillraceError(
            ErrorCode.INVALID_REQUEST,
            f"process {os.getpid()} was forked from {_user}, which had used gRPC already: a {client} would hang here. Make the first "
            "use of millrace after the fork (gunicorn: in post_fork; clients may be made before), or start processes with "
            'multiprocessing.get_context("spawn")')


def in_child() -> bool:
    """Whether what was made before belongs to another process."""
    return _user is not None and _user != os.getpid()
