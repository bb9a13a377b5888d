"""The fault matrix is what the tests prove, and the page is what the matrix says."""

import ast
import runpy
from pathlib import Path

import pytest

from tests.faults.matrix import MATRIX, Fault

ROOT = Path(__file__).parents[2]
FAULTS = [fault for group in MATRIX.values() for fault in group]


def test_every_fault_has_its_number() -> None:
    """One to seventy-six, each once and in order."""
    assert [fault.number for fault in FAULTS] == list(range(1, 77))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.number))
def test_every_proof_exists(fault: Fault) -> None:
    """What is not open names tests that are there, and says what happens."""
    assert bool(fault.open) == (not fault.proofs)
    assert fault.open or fault.outcome
    for proof in fault.proofs:
        file, _, name = proof.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in tree.body if isinstance(node, functions)}, proof


def test_the_page_is_up_to_date() -> None:
    """`scripts/generate-faults-reference` makes the committed page."""
    made = runpy.run_path(str(ROOT / "scripts" / "generate-faults-reference"))
    page = ROOT / "docs" / "reference" / "faults.md"
    assert page.read_text(encoding="utf-8") == made["reference"]()
