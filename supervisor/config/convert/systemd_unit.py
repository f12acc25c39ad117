"""Make a component of a systemd `.service`."""

from __future__ import annotations

from supervisor.config.convert.carry import Leftovers, configuration
from supervisor.config.convert.unit_commands import carry_commands
from supervisor.config.convert.unit_file import read_unit
from supervisor.config.convert.unit_life import carry_life
from supervisor.config.convert.unit_process import carry_process
from supervisor.config.convert.unit_service import Service
from supervisor.config.tables import Node
from supervisor.model.errors import Problem


def read(text: str, file: str, problems: list[Problem]) -> Node | None:
    """Return the component of a unit; what cannot be carried over goes to *problems* as warnings.

    Source: systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.kill(5).
    """
    unit = read_unit(text, file, problems)
    if unit is None:
        return None
    left = Leftovers(file, problems)
    if "Service" not in unit.sections:
        left.fault(1, "", "has no section [Service]: only service units can be converted")
        return None
    service = Service(file, unit, left)
    carry_commands(service)
    carry_life(service)
    carry_process(service)
    service.leave_the_rest()
    return configuration(file, [service.draft])
