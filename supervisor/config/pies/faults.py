"""Collect what is wrong with the text of files, and give up where there is too much."""

from __future__ import annotations

from supervisor.model.errors import Problem

MOST = 100
"""Faults of syntax in one file and what it includes. With more, it is not a configuration."""


MOST_IN_ALL = 2000
"""Problems of all files together. Looking for the word that was meant takes its time for each."""


class Stopped(Exception):  # Not an error of ours: the reading ends here.
    """Reading goes no further. Why is among the problems."""


class Faults:
    """The problems that one file, and what it includes, have as text."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.count = self.warnings = 0
        self.swallowed = False
        """Whether something without an end took the rest of a file: what is missing is there."""

    def at(self, file: str, line: int, message: str, key: str = "") -> None:
        """Note a problem.

        Raises:
            Stopped: there are too many.
        """
        self.problems.append(Problem(file, max(line, 1), key, message))
        self.count += 1
        if self.count >= MOST:
            what = f"more than {MOST} faults: the rest is not read"
            self.problems.append(Problem(file, max(line, 1), "", what))
            raise Stopped

    @property
    def warns(self) -> bool:
        """Whether another warning would be told."""
        return self.warnings < MOST

    def warn(self, file: str, line: int, message: str, key: str = "") -> None:
        """Note a warning. Beyond any sensible number they are dropped."""
        if self.warns:
            self.warnings += 1
            self.problems.append(Problem(file, max(line, 1), key, message, warning=True))


def give_up_beyond_measure(problems: list[Problem], file: str, line: int) -> None:
    """Do nothing while there are not too many problems. Warnings do not count.

    Raises:
        Stopped: there are.
    """
    if len(problems) < MOST_IN_ALL or problems[-1].warning:
        return
    if sum(not problem.warning for problem in problems) >= MOST_IN_ALL:
        what = f"there are {MOST_IN_ALL} problems already: the rest is not looked at"
        problems.append(Problem(file, max(line, 1), "", what))
        raise Stopped
