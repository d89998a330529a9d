"""Every capability that Carrick promises has a test that names it, by its id in the name
(`test_b7_…`) or the docstring (`B7`)."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROWS = [f"B{number}" for number in range(1, 13)] + [f"C{number}" for number in range(1, 18)]
_ID = re.compile(r"\b([A-E][1-9][0-9]?)\b")
_IN_NAME = re.compile(r"_([a-e][1-9][0-9]?)(?=_|$)")


@cache
def named() -> dict[str, list[str]]:
    """The tests of each row; those that do nothing but skip do not count."""
    found = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("test_") or _only_skips(node):
                continue
            rows = {row.upper() for row in _IN_NAME.findall(node.name)}
            for row in rows | set(_ID.findall(ast.get_docstring(node) or "")):
                found[row].append(f"{path.name}::{node.name}")
    return found


def _only_skips(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    last = function.body[-1]
    return len(function.body) <= 2 and "attr='skip'" in ast.dump(last)


@pytest.mark.parametrize("row", ROWS)
def test_a_test_names_it(row: str) -> None:
    assert named()[row]


def test_who_only_skips_shows_nothing() -> None:
    skipping = ast.parse("def test_b1() -> None:\n    '''B1'''\n    pytest.skip('later')").body[0]
    assert isinstance(skipping, ast.FunctionDef) and _only_skips(skipping)
    testing = ast.parse("def test_b1() -> None:\n    assert carrick").body[0]
    assert isinstance(testing, ast.FunctionDef) and not _only_skips(testing)
