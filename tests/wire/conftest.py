"""The kit of the flow tests is used here too."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "flow"))

from kit.program import BINARY


def pytest_report_header(config):
    return f"retrywith: {BINARY}"


def pytest_configure(config):
    if not Path(BINARY).exists():
        raise pytest.UsageError(f"no {BINARY}: build it, or set RETRYWITH")
