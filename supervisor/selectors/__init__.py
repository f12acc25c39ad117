"""Pick components: predicates over descriptions, their JSON form and their text form."""

from supervisor.selectors.compiling import Test, compile_selector
from supervisor.selectors.explaining import (
    Decision,
    Explanation,
    Verdict,
    explain,
    explainer,
    tree,
)
from supervisor.selectors.jsonform import Json, from_json, parse_json, to_json
from supervisor.selectors.nodes import (
    MAX_BYTES,
    MAX_LEVELS,
    All,
    And,
    DependentOf,
    HasLabels,
    HasMode,
    HasStatus,
    HasTag,
    HasType,
    IsActive,
    Leaf,
    Not,
    Nothing,
    Or,
    PrerequisiteOf,
    Selector,
    TagGlob,
)
from supervisor.selectors.printing import to_text
from supervisor.selectors.reach import NO_PREREQUISITES, Prerequisites, prerequisites_among
from supervisor.selectors.textform import parse_text

__all__ = [
    "MAX_BYTES",
    "MAX_LEVELS",
    "NO_PREREQUISITES",
    "All",
    "And",
    "Decision",
    "DependentOf",
    "Explanation",
    "HasLabels",
    "HasMode",
    "HasStatus",
    "HasTag",
    "HasType",
    "IsActive",
    "Json",
    "Leaf",
    "Not",
    "Nothing",
    "Or",
    "PrerequisiteOf",
    "Prerequisites",
    "Selector",
    "TagGlob",
    "Test",
    "Verdict",
    "compile_selector",
    "explain",
    "explainer",
    "from_json",
    "parse_json",
    "parse_text",
    "prerequisites_among",
    "to_json",
    "to_text",
    "tree",
]
