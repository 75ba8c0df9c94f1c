"""Programs of the system that some tests need."""
import shutil

import pytest


def program(name):
    """The path of a program, or the test is skipped."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path
