"""What a search for a failing case depends on."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from hypothesis import strategies as st
from scratch_conv.parity.judging.compare import Verdict
from scratch_conv.parity.searching import search

if "constants" in sys.argv:
    import constants_of_a_user
drawn = []
def judge(case):
    drawn.append(case)
    return Verdict()
search(st.tuples(st.integers(0, 10**9), st.floats(0, 1e9)), judge, examples=200, seed=0)
print(drawn)
"""


def test_a_seed_draws_the_same_cases_beside_any_module(tmp_path: Path) -> None:
    (tmp_path / "constants_of_a_user.py").write_text(
        "\n".join(f"NUMBER_{i} = {123_400 + i}\nHALF_{i} = {i}.5" for i in range(100))
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths}
    drawn = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            capture_output=True, text=True, check=True, env=environment,
        ).stdout
        for arguments in ([], ["constants"])
    ]  # fmt: skip
    assert drawn[0] == drawn[1]
    assert drawn[0].count(",") > 200
