"""JSON for the option --json."""

import json
import math


def as_json(value) -> str:
    """Returns the value as valid JSON on one line. NaN and infinity, which JSON does
    not have, become null."""
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False)


def _finite(value):
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
