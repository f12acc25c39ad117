"""Whether a connection is served: what the listener's component says about clients."""

from __future__ import annotations

from typing import NamedTuple

from supervisor.engine.world import World
from supervisor.model.access import Subject, allows
from supervisor.model.component import Tag


class Refusal(NamedTuple):
    """Why somebody is not served: `reason` for our log, `message` for the client."""

    reason: str
    message: str


def refusal(world: World, tag: Tag, subject: Subject) -> Refusal | None:
    """Return why a client who is *subject* is not served by *tag* now, or None if it is.

    Source: pies.md section 2.5.
    """
    spec, served = world.specs[tag], world.connections.get(tag, {})
    if not allows(spec.acl, subject):
        return Refusal("its acl says no", spec.access_denied_message)
    if spec.max_instances is not None and len(served) >= spec.max_instances:
        reason = f"{len(served)} are served already"
        return Refusal(reason, spec.max_instances_message)
    if spec.max_ip_connections is None or not subject.address or subject.address[0] in "/@":
        return None
    same = world.clients.get((tag, subject.address), 0)
    if same >= spec.max_ip_connections:
        reason = f"{same} of that address are served already"
        return Refusal(reason, spec.max_ip_connections_message)
    return None
