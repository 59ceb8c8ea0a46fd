"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

from bigfoot.training.heap import keep_freed_memory

COUNT = """
import resource, sys
from bigfoot.training.heap import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(64 << 20)
    block[::4096] = bytes(len(block) // 4096)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="another C library than glibc")
def test_the_pages_of_a_block_are_not_asked_for_twice():
    def faults(how):
        done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") < 1000 < 15_000 < faults("give back")
