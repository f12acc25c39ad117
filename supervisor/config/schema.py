"""The JSON Schema of the TOML form, made from the keys; editors complete and check with it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Final

from supervisor.config import keys
from supervisor.config.build import TAG_PATTERN
from supervisor.config.fields import table_schema
from supervisor.config.kinds import Schema

NAME: Final = "piesd.schema.json"


def schema() -> Schema:
    """Return the schema. Whatever `load` accepts is valid by it, not the other way round."""
    component = table_schema(keys.COMPONENT_KEYS)
    # A default may be all there is of a command.
    component.pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of piesd",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "daemon": {"description": "piesd itself", **table_schema(keys.DAEMON_KEYS)},
            "control": {
                "description": "where piesd listens for orders",
                **table_schema(keys.CONTROL_KEYS),
            },
            "defaults": {
                "description": "keys for every component that does not have them itself",
                **table_schema(keys.COMPONENT_KEYS, defaults=True),
            },
            "component": {
                "description": "what is supervised, by tag",
                "type": "object",
                "propertyNames": {"pattern": TAG_PATTERN, "not": {"enum": ["all", "none"]}},
                "additionalProperties": component,
            },
        },
    }


def rendered() -> str:
    """Return the schema as it is shipped."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def shipped() -> str:
    """Return the schema file that is part of this installation."""
    return (files("supervisor.config") / NAME).read_text(encoding="utf-8")
