"""Send the text of a file through m4, or the preprocessor of the command line, where it needs that.

Source: pies.md section 1.1.
"""

from __future__ import annotations

import re
import shlex

from supervisor.config.pies.lexer import NO_NAMES
from supervisor.config.pies.options import DEFAULT_COMMAND, PreprocessOptions, Reading
from supervisor.config.tables import quoted
from supervisor.model.errors import Problem

_BLANKED = re.compile(r"#[^\n]*")
_CAN_CHANGE = r"`|(?<![A-Za-z0-9_])(?:m4_[a-z]|__(?:gnu|unix|windows|os2)__(?![A-Za-z0-9_])"
"""What m4 -P looks at: its quotes, its macros, and the names of its system, which keep theirs."""

_COMPLAINT = re.compile(
    r"(?:[^\s:]+:[ \t]*)?(?P<file>[^:\n]+):(?P<line>[0-9]{1,9}):(?:[0-9]+:)?[ \t]*(?P<what>.*)"
)
_MOST_COMPLAINTS = 20


def command_line(options: PreprocessOptions) -> list[str]:
    """Return the words of the preprocessor's command line.

    Raises:
        ValueError: `--preprocessor` is empty, or cannot be split into words.
    """
    words = shlex.split(DEFAULT_COMMAND if options.command is None else options.command)
    if not words:
        raise ValueError("it is empty")
    words += [f"-I{directory}" for directory in options.search_path]
    words += [f"-D{define}" for define in options.defines]
    return words + [f"-U{name}" for name in options.undefines]


def preprocessed(text: str, file: str, problems: list[Problem], reading: Reading) -> str | None:
    """Return what the preprocessor makes of *text*, or None after noting why there is nothing.

    The text itself comes back where nothing is to be run, or where m4 could not change anything.
    """
    options = reading.options
    line = _needed_at(text, options)
    if line is None:
        return text
    if text in reading.done:
        return reading.done[text]
    if reading.run is None:
        what = "needs a preprocessor (m4), and here none can be run"
        problems.append(Problem(file, line, "", what))
        return None
    if reading.hangs:
        # Each further wait would be for nothing.
        problems.append(Problem(file, line, "", "is not preprocessed: that did not end before"))
        return None
    try:
        words = command_line(options)
    except ValueError as error:
        what = f"cannot run the preprocessor {quoted(options.command or '')}: {error}"
        problems.append(Problem(file, 1, "", what))
        return None
    try:
        code, output, complaints = reading.run(words, text.encode())
    except (OSError, ValueError) as error:
        reading.hangs = isinstance(error, TimeoutError)
        problems.append(Problem(file, line, "", _cannot_run(words[0], options, error)))
        return None
    told = complaints.decode(errors="replace").splitlines()
    problems += _complaints(told, file, text, warning=code == 0)
    if code != 0:
        if not any(line.strip() for line in told):
            what = f"the preprocessor {quoted(words[0])} failed with code {code}"
            problems.append(Problem(file, 1, "", what))
        return None
    try:
        made = output.decode()
    except UnicodeDecodeError:
        what = f"the preprocessor {quoted(words[0])} wrote something that is not UTF-8"
        problems.append(Problem(file, 1, "", what))
        return None
    if not told:
        reading.done[text] = made
    return made


def _needed_at(text: str, options: PreprocessOptions) -> int | None:
    """Return the line where the preprocessor is needed, or None where it is not."""
    if not options.enabled:
        return None
    if options.command is not None:
        return 1
    names = [re.escape(define.partition("=")[0]) for define in options.defines]
    own = "".join(rf"|{name}(?![A-Za-z0-9_])" for name in names if name)
    needed = re.compile(f"{_CAN_CHANGE}{own})")
    if not needed.search(text):
        return None
    # m4 leaves alone what stands behind a '#', unless it is within quotes: but those are found.
    match = needed.search(_BLANKED.sub("", text))
    if match is None:
        return None
    return match.string.count("\n", 0, match.start()) + 1


def _cannot_run(program: str, options: PreprocessOptions, error: OSError | ValueError) -> str:
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if not isinstance(error, FileNotFoundError):
        return f"cannot run the preprocessor {quoted(program)}: {why}"
    if options.command is not None:
        return f"cannot run the preprocessor {quoted(program)}: there is no such program"
    what = "needs m4 to be preprocessed, and there is no m4"
    return f"{what}: install the package 'm4', or use --no-preprocessor"


def _complaints(told: list[str], file: str, text: str, *, warning: bool) -> list[Problem]:
    found = []
    last = text.count("\n") + 1
    placeless = []
    for complaint in told[:_MOST_COMPLAINTS]:
        match = _COMPLAINT.fullmatch(complaint.strip())
        if match is None:
            placeless.append(complaint.strip())
            continue
        own = match["file"] in NO_NAMES
        line = max(1, int(match["line"]))
        what = f"preprocessor: {match['what'][:300]}"
        found.append(
            Problem(
                file if own else match["file"], min(line, last) if own else line, "", what, warning
            )
        )
    # In one problem they keep their order.
    if what := " ".join(line for line in placeless if line)[:300]:
        found.append(Problem(file, 1, "", f"preprocessor: {what}", warning))
    return found
