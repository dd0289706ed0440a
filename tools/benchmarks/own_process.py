"""Measuring in a process of its own, so that its peak memory is that of one case."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.matting.models import ROOT


def run_alone(module: str, *arguments: object, checkout: Path = ROOT) -> dict[str, Any]:
    """What a module of this project prints as JSON, run in a process of its own.

    Parameters
    ----------
    module : str
        Dotted name.
    arguments
        Words of its command line.
    checkout : Path
        The built checkout whose module it is: another one has another version.

    Raises
    ------
    CalledProcessError
        If it ends with another status than 0.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    run = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    return json.loads(run.stdout)
