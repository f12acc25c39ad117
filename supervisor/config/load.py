"""From the files an operator names to a plan, or to every problem they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from supervisor.config.build import build
from supervisor.config.check import check_together
from supervisor.config.gather import gather
from supervisor.config.host import Host
from supervisor.config.links import link
from supervisor.config.machine import check_machine
from supervisor.config.pies.options import PreprocessOptions, Run
from supervisor.config.runlevels import Levels
from supervisor.config.settings import build_settings
from supervisor.config.sources import Sources, default_files, read_sources
from supervisor.engine.plan import Plan
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.settings import SourceFile

__all__ = ["default_files", "load"]


def load(
    paths: Sequence[SourceFile],
    *,
    environ: Mapping[str, str],
    euid: int,
    instance: str | None = None,
    sockets: Sequence[str] = (),
    host: Host | None = None,
    preprocessing: PreprocessOptions | None = None,
    run: Run | None = None,
    init: bool = False,
) -> Plan:
    """Build the plan that *paths* describe. Reads files and asks the system: it may block.

    Args:
        paths: files and directories as the operator named them; a syntax of `""` goes by the
            suffix. The plan carries them as they are, so that a reload looks at directories anew.
        environ: the environment of piesd: default directories, and the PATH of children.
        euid: the effective user of piesd.
        instance: the name from the command line; it wins over `PIESD_INSTANCE` and the files.
        sockets: control sockets from the command line; they replace those of the files.
        host: what is known of this machine; the machine itself if None.
        preprocessing: how files of pies' syntax are preprocessed; None as without options.
        run: runs the preprocessor (`supervisor.system.preprocess.run`). Without it, a file that
            needs one is a problem.
        init: whether piesd is an init process, and runlevels mean something in any case.

    Raises:
        ConfigRejected: with every problem (and warning) of every file, sorted by place.
    """
    problems: list[Problem] = []
    sources = read_sources(
        paths, problems, environ=environ, euid=euid, preprocessing=preprocessing, run=run
    )
    return make_plan(
        sources,
        paths,
        problems,
        environ=environ,
        euid=euid,
        instance=instance,
        sockets=sockets,
        host=host or Host(),
        init=init,
    )


def make_plan(
    sources: Sources,
    paths: Sequence[SourceFile],
    problems: list[Problem],
    *,
    environ: Mapping[str, str],
    euid: int,
    instance: str | None,
    sockets: Sequence[str],
    host: Host,
    init: bool = False,
) -> Plan:
    """Build the plan of what was read: see `load`. Only *host* asks the system anything.

    Args:
        problems: what reading has found already.
    """
    tables = gather(sources.documents, problems)
    settings = build_settings(
        tables,
        host,
        problems,
        environ=environ,
        euid=euid,
        instance=instance,
        sockets=sockets,
    )
    drafts = build(tables, settings.base, host, problems)
    problems += check_together(drafts, settings)
    levels = Levels(drafts, settings, init)
    problems += levels.check()
    problems += check_machine(drafts, settings, host, environ=environ, euid=euid)
    if not drafts and sources.documents:
        nothing = Problem(sources.documents[0].file, 0, "", "defines no component", warning=True)
        problems.append(nothing)
    links = link(drafts, sources.broken, problems)
    # Instances, and components that share a default, find the same problem again.
    told = sorted(set(problems))
    if any(not problem.warning for problem in told):
        raise ConfigRejected(told)
    return Plan(
        components=(*links.components, *levels.shell(host)),
        daemon=settings.daemon,
        control=settings.control,
        files=tuple(paths),
        warnings=tuple(told),
    )
