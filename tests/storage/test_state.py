"""State files come back as they were, or with a reason."""

import json
import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigfoot.errors import OutputError
from bigfoot.storage.state import forget_state, parse_as, read_state, write_state


@dataclass(frozen=True)
class Inner:
    wer: float | None


@dataclass(frozen=True)
class State:
    name: str
    steps: int
    seconds: float
    splits: dict[str, Inner]
    records: list[dict[str, Any]] = field(default_factory=list)


STATE = State("dïstill", 3, 1.5, {"dev": Inner(None), "test": Inner(0.25)}, [{"step": 1, "loss": 0.1}])


def test_what_was_written_comes_back(tmp_path):
    write_state(tmp_path / "new" / "a.json", STATE)
    assert read_state(tmp_path / "new" / "a.json", State) == (STATE, "")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]
    assert read_state(tmp_path / "b.json", State) == (None, "")


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_a_file_that_was_cut_off_has_a_reason(cut, tmp_path):
    file = tmp_path / "a.json"
    write_state(file, STATE)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * cut // 100])
    value, reason = read_state(file, State)
    assert value is None and str(file) in reason


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_gives_another_value(at, bit, tmp_path):
    file = tmp_path / "a.json"
    write_state(file, STATE)
    content = bytearray(file.read_bytes())
    content[at % len(content)] ^= 1 << bit
    file.write_bytes(content)
    value, reason = read_state(file, State)
    # White space that becomes other white space changes nothing.
    assert value == STATE or (value is None and reason)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary() | JSON | st.sampled_from(list(vars(STATE))), value=JSON)
def test_anything_else_has_a_reason(content, value, tmp_path):
    file = tmp_path / "a.json"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, str) and hasattr(STATE, content):
        write_state(file, STATE)
        file.write_text(json.dumps({**json.loads(file.read_text()), content: value}))
    else:
        file.write_text(json.dumps(content))
    found, reason = read_state(file, State)
    assert found == STATE or (found is None and reason)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["name", "steps", "seconds", "splits", "records"]), JSON)
def test_wrong_types_are_value_errors(name, value):
    raw = {"name": "a", "steps": 1, "seconds": 1.0, "splits": {}, "records": [], name: value}
    try:
        found = parse_as(State, raw)
    except ValueError:
        return
    kinds = {"name": str, "steps": int, "seconds": int | float, "splits": dict, "records": list}
    assert isinstance(getattr(found, name), kinds[name])


def test_deep_json_is_no_crash(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    assert read_state(tmp_path / "a.json", State)[0] is None


def test_a_folder_a_pipe_and_a_lost_link(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "pipe", "link"):
        value, reason = read_state(tmp_path / name, State)
        assert value is None and reason, name
    for change in (lambda path: write_state(path, STATE), forget_state):
        with pytest.raises(OutputError):
            change(tmp_path / "folder")
