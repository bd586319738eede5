"""What schemathesis does not know by itself: types of bodies, things that exist, several keys."""

import itertools
import json
import os

import schemathesis

# Lists of ids, by how the path begins.
KNOWN = json.loads(os.environ["WEIR_IDS"])
KEYS = itertools.cycle(json.loads(os.environ["WEIR_KEYS"]))
TURN = itertools.count()


@schemathesis.serializer("application/toml")
def toml(context, value):
    return value.encode() if isinstance(value, str) else b"[server]\n"


@schemathesis.deserializer("application/octet-stream", "text/event-stream", "text/csv")
def opaque(context, response):
    return response.text if response.encoding else list(response.content)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Every other time an id of something that is there; it is not taken away."""
    operation = context.operation
    if "id" not in (path_parameters or {}) or operation.method.upper() == "DELETE":
        return path_parameters
    for start, ids in KNOWN.items():
        if operation.path.startswith(start + "{id}") and next(TURN) % 2 == 0:
            path_parameters["id"] = ids[0]
    return path_parameters


@schemathesis.auth(refresh_interval=None)
class InTurn:
    """One key alone may not ask as often as this does."""

    def get(self, case, context):
        return next(KEYS)

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"
        # A key that is drawn twice gives the first answer again, which tells of something that may
        # be deleted since. Those that no key can be stay as they are.
        once = case.headers.get("Idempotency-Key")
        if isinstance(once, str) and 0 < len(once) < 240:
            case.headers["Idempotency-Key"] = f"{once}-{next(TURN)}"
