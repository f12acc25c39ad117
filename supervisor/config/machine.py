"""What does not fit this machine: users, groups, directories, programs, files, rights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from supervisor.config import keys
from supervisor.config.build import Draft, written
from supervisor.config.host import Host
from supervisor.config.limits import UNLIMITED
from supervisor.config.orders import Secret
from supervisor.config.settings import Settings
from supervisor.config.tables import Node, quoted
from supervisor.model.component import Component, Environment, UnixAddress
from supervisor.model.errors import Problem


def check_machine(
    drafts: Sequence[Draft],
    settings: Settings,
    host: Host,
    *,
    environ: Mapping[str, str],
    euid: int,
) -> list[Problem]:
    """Return what does not fit this machine: users, groups, directories, programs."""
    problems = [
        *_control_sockets(settings, host),
        *_own_user(settings, host, euid),
        *_mailer(drafts, settings, host),
    ]
    for secret in settings.secrets:
        problems += _secret(secret, host)
    # Components are started by whoever piesd is then.
    becomes = host.user(settings.daemon.user) if settings.daemon.user else None
    euid = euid if becomes is None else becomes
    for draft in drafts:
        problems += _user_and_groups(draft, host, euid)
        problems += _rights(draft, host, euid)
        problems += _files(draft, host)
        problems += _directories(draft, settings, host)
        problems += _program(draft, host, environ)
    return problems


def _user_and_groups(draft: Draft, host: Host, euid: int) -> Iterable[Problem]:
    component = draft.component
    user = component.user
    node = written(draft, keys.USER)
    if user is not None:
        uid = host.user(user)
        if uid is None:
            yield node.problem(f"there is no user {quoted(user)}")
        elif euid not in (0, uid):
            yield node.warning(f"only root can run as {quoted(user)}: the start will fail")
    listed = written(draft, keys.GROUP)
    for group in component.group:
        if not host.has_group(group):
            yield listed.problem(f"there is no group {quoted(group)}")
    if component.group and euid != 0:
        yield listed.warning("only root can set groups: the start will fail")
    if component.allgroups and user is None and keys.ALLGROUPS.name in draft.own:
        what = "has no effect without 'user'"
        yield written(draft, keys.ALLGROUPS).warning(what)
    for address in component.sockets:
        if isinstance(address, UnixAddress):
            yield from _socket_owner(address, written(draft, keys.SOCKET), host)


def _own_user(settings: Settings, host: Host, euid: int) -> Iterable[Problem]:
    daemon, fields = settings.daemon, settings.fields
    node = fields.node(keys.DAEMON_USER)
    if daemon.user is not None and node is not None:
        uid = host.user(daemon.user)
        if uid is None:
            yield node.problem(f"there is no user {quoted(daemon.user)}")
        elif euid not in (0, uid):
            yield node.problem(f"only root can become {quoted(daemon.user)}")
    listed = fields.node(keys.DAEMON_GROUP)
    if listed is not None:
        for group in daemon.group:
            if not host.has_group(group):
                yield listed.problem(f"there is no group {quoted(group)}")
        if daemon.group and euid != 0:
            yield listed.problem("only root can set groups")
    everything = fields.node(keys.DAEMON_ALLGROUPS)
    if everything is not None and daemon.allgroups and node is None:
        yield everything.warning("has no effect without 'user'")


def _rights(draft: Draft, host: Host, euid: int) -> Iterable[Problem]:
    """Warn about what piesd may not do, and about processors that are not there."""
    component = draft.component
    if component.cpu_affinity and min(component.cpu_affinity) > host.last_cpu():
        what = f"this machine has no such processor: the last one is {host.last_cpu()}"
        yield written(draft, keys.CPU_AFFINITY).warning(f"{what}; the start will fail")
    root = euid == 0
    if component.nice is not None and component.nice < 0 and not root:
        key = keys.LIMITS if draft.fields.given(keys.NICE) is None else keys.NICE
        what = "only root can raise the priority: the start will fail"
        yield written(draft, key).warning(what)
    if root and host.may_exceed():
        return
    nobody = "piesd has no right to" if root else "only root can"
    if component.oom_score_adj is not None and component.oom_score_adj < 0:
        what = f"{nobody} go below 0: the start will fail"
        yield written(draft, keys.OOM_SCORE_ADJ).warning(what)
    for name, limit in component.limits.items():
        most = host.hard_limit(name)
        if most is not None and (limit == UNLIMITED or limit > most):
            what = f"{nobody} raise {name} above {most}: the start will fail"
            node = written(draft, keys.LIMITS)
            yield node.table.get(name, node).warning(what)


def _files(draft: Draft, host: Host) -> Iterable[Problem]:
    node = written(draft, keys.ENV)
    for name, path in draft.component.env.files.items():
        yield from _secret(Secret(path, node.table.get(name, node)), host)


def _secret(secret: Secret, host: Host) -> Iterable[Problem]:
    path = quoted(secret.path)
    match host.secret(secret.path):
        case "missing" if secret.needed:
            yield secret.node.problem(f"there is no file {path}")
        case "missing":
            yield secret.node.warning(f"there is no file {path}")
        case "unknown":
            yield secret.node.warning(f"cannot tell whether there is a file {path}")
        case "readable by everybody" if not secret.public:
            yield secret.node.warning(f"everybody may read {path}: chmod o= would change that")


def _mailer(drafts: Sequence[Draft], settings: Settings, host: Host) -> Iterable[Problem]:
    """Warn where mail is to be sent and cannot be."""
    mail = settings.daemon.mail
    if mail.smtp or settings.mail.wrong(keys.MAIL_PROGRAM) or settings.mail.wrong(keys.MAIL_SMTP):
        return
    found = host.executable(mail.program)
    if found == "fine":
        return
    fault = "is not executable" if found == "not executable" else "is missing"
    node = settings.mail.node(keys.MAIL_PROGRAM)
    if node is not None:
        yield node.warning(f"{quoted(mail.program)} {fault}")
        return
    what = f"no mail can be sent: {mail.program} {fault}, and [mail] has no 'smtp'"
    if settings.on_exit and any(action.notify for action in settings.base.exit_actions):
        yield settings.on_exit[0].warning(what)
    for draft in drafts:
        if any(action.notify for action in draft.fields.given(keys.ON_EXIT) or ()):
            yield written(draft, keys.ON_EXIT).warning(what)


def _control_sockets(settings: Settings, host: Host) -> Iterable[Problem]:
    for address, node in settings.sockets:
        if isinstance(address, UnixAddress):
            yield from _socket_owner(address, node, host)


def _socket_owner(address: UnixAddress, node: Node, host: Host) -> Iterable[Problem]:
    if address.user is not None and host.user(address.user) is None:
        yield node.problem(f"there is no user {quoted(address.user)}")
    if address.group is not None and not host.has_group(address.group):
        yield node.problem(f"there is no group {quoted(address.group)}")


def _directories(draft: Draft, settings: Settings, host: Host) -> Iterable[Problem]:
    component = draft.component
    if component.chdir is not None and not host.is_directory(component.chdir):
        yield written(draft, keys.CHDIR).warning(f"there is no directory {quoted(component.chdir)}")
    for key, output in ((keys.STDOUT, component.stdout), (keys.STDERR, component.stderr)):
        if output.path is None:
            continue
        directory = os.path.dirname(output.path)
        if directory != settings.daemon.log_directory and not host.is_directory(directory):
            yield written(draft, key).warning(f"there is no directory {quoted(directory)}")


def _program(draft: Draft, host: Host, environ: Mapping[str, str]) -> Iterable[Problem]:
    component = draft.component
    path = search_path(component, environ)
    if component.program is not None:
        yield from _found(component.program, written(draft, keys.PROGRAM), component, host, path)
    elif component.argv and not (
        component.internal or (component.expandenv and "$" in component.argv[0])
    ):
        yield from _found(component.argv[0], written(draft, keys.COMMAND), component, host, path)
    if component.start_condition:
        node = written(draft, keys.START_CONDITION)
        yield from _found(component.start_condition[0], node, component, host, path)
    for key, check in ((keys.READY, component.ready), (keys.HEALTH, component.health)):
        if check is not None and check.argv:
            node = written(draft, key)
            place = node.table.get("exec", node)
            yield from _found(check.argv[0], place, component, host, path)


def _found(
    name: str, node: Node, component: Component, host: Host, path: str | None
) -> Iterable[Problem]:
    """Warn about a program that is not there; where the path is not known, about none."""
    if "/" in name:
        found = host.executable(os.path.join(component.chdir or "", name))
        where = ""
    elif path is not None:
        found = host.find_program(name, path)
        where = " in its PATH"
    else:
        return
    if found == "missing":
        yield node.warning(f"there is no program {quoted(name)}{where}")
    elif found == "not executable":
        yield node.warning(f"{quoted(name)} is not executable")


def search_path(component: Component, environ: Mapping[str, str]) -> str | None:
    """Return the PATH in which the child of *component* is looked for.

    None where it depends on steps that are taken at each start.
    """
    env = component.env
    if env.steps or component.env_base != Environment() or "PATH" in env.files:
        return None
    if "PATH" in env.set:
        return env.set["PATH"]
    inherited = environ.get("PATH")
    if inherited is None or "PATH" in env.unset or (env.clear and not _keeps_path(env.keep)):
        return os.defpath
    return inherited


def _keeps_path(patterns: Iterable[str]) -> bool:
    return any(fnmatchcase("PATH", pattern) for pattern in patterns)
