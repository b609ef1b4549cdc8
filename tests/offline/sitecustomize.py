"""Python runs this file at start when its folder is on PYTHONPATH: from then on only
this machine can be reached.

tests/conftest.py puts it there for every test, notebook kernel and subprocess. An audit
hook hears of each connection and each name look-up, whatever library asks for it,
before it happens, and cannot be taken off again.

It also saves each process that reads or writes a notebook two seconds: `jsonschema`
imports rfc3987_syntax where it is installed, which then builds 38 parsers. They check
internationalised addresses (IRIs), and no notebook has a field of this kind.
"""

import os
import sys

HOME = (
    None,
    "",
    "localhost",
    "::",
    "::1",
    "0.0.0.0",
    os.uname().nodename if hasattr(os, "uname") else None,
)


def refuse(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        # (host, port, ...); a unix socket has a path here, and a connected one None
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in (
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
    ):
        host = args[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in HOME and not str(host).startswith("127."):
        raise ConnectionRefusedError(
            f"tests run without a network: {event} to {host!r} refused"
        )


sys.addaudithook(refuse)
sys.modules.setdefault("rfc3987_syntax", None)
