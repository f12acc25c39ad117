"""The JSON Schema of the TOML form, made from the keys; editors complete and check with it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Final

from supervisor.config import keys
from supervisor.config.acls import NAME_PATTERN, AclRules
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
            "on-exit": {
                "description": "what is done when a component ends by itself: for all of them",
                **keys.ON_EXIT_TABLES.schema(),
            },
            "syslog": {"description": "where syslog is", **table_schema(keys.SYSLOG_KEYS)},
            "mail": {"description": "how mail is sent", **table_schema(keys.MAIL_KEYS)},
            "acl": {
                "description": "access control lists with names",
                "type": "object",
                "propertyNames": {"pattern": NAME_PATTERN},
                "additionalProperties": AclRules(named=False).schema(),
            },
            "identity-provider": {
                "description": "who knows names and passwords, by a name of yours",
                "type": "object",
                "additionalProperties": table_schema(keys.PROVIDER_KEYS),
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
