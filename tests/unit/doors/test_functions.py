"""Functions of the user's own: found by address, named by content, asked for what there is."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.doors import functions as door
from harness.doors.functions import code_digest, failure, is_address, is_importable, is_named, load, look_in, parameters
from harness.errors import InputError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def over(value: Any) -> Any:
    def inner(reply: Any) -> Any:
        return (reply, value)

    return inner


@settings(max_examples=30)
@given(PLAIN, PLAIN)
def test_a_closure_is_named_by_what_it_closes_over(a: Any, b: Any) -> None:
    assert is_named(code_digest(over(a)))
    assert code_digest(over(a)) == code_digest(over(a))
    assert (code_digest(over(a)) == code_digest(over(b))) == (repr(a) == repr(b))


def test_helpers_globals_defaults_and_partials_are_part_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    digests = set()
    texts = ("LIMIT = 3", "LIMIT = 4", "LIMIT = 4\ndef aid(x): return x + 1", "LIMIT = 4\ndef aid(x): return x + 2")
    for place, text in enumerate(texts):
        aid = "" if "aid" in text else "\ndef aid(x): return x"
        (tmp_path / f"own_{place}.py").write_text(f"{text}{aid}\ndef f(reply, n=1): return aid(LIMIT) + n\n")
        digests.add(code_digest(load(f"own_{place}:f")))
    assert len(digests) == 4
    one, two = lambda reply: reply + "a", lambda reply: reply + "b"
    assert code_digest(one) != code_digest(two)
    assert code_digest(functools.partial(over, 1)) != code_digest(functools.partial(over, 2))


def test_an_installed_function_is_named_by_its_package_and_by_what_it_closes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(door, "_LIBRARIES", (str(tmp_path),))
    (tmp_path / "shared" / "kit").mkdir(parents=True)  # `shared` is nobody's alone
    init, aid = (tmp_path / "shared" / "kit" / f"{name}.py" for name in ("__init__", "aid"))
    aid.write_text("def aid(n): return n\n")
    init.write_text("import logging\nfrom shared.kit.aid import aid\nlog = logging.getLogger()\n"
                    "def over(n):\n    def f(reply): return log and aid(n)\n    return f\n")  # fmt: skip
    over = load("shared.kit:over")
    before = code_digest(over(1))
    assert is_named(before)
    assert before == code_digest(over(1)) != code_digest(over(2))
    aid.write_text("def aid(n): return n + 1\n")
    assert code_digest(over(1)) != before


def test_what_has_no_content_to_tell_is_new_every_time() -> None:
    import threading

    client = threading.Lock()

    def asks(reply: Any) -> Any:
        return client.locked()

    assert not is_named(code_digest(asks))
    assert code_digest(asks) != code_digest(asks)


def test_a_digest_does_not_depend_on_the_process(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "own_shared.py").write_text("import math\nS = {'b', 'a', 'c'}\ndef f(r): return [math.pi, *S]\n")
    code = "import own_shared; from harness.doors.functions import code_digest; print(code_digest(own_shared.f))"
    run = functools.partial(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True)
    env = {"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}"}
    assert run(env=env | {"PYTHONHASHSEED": "1"}).stdout == run(env=env | {"PYTHONHASHSEED": "2"}).stdout


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("no_such_module:f", "can be imported"),
        ("json:nothing", "there is no `nothing`"),
        ("json", "must be `module:name`"),
        ("../evil:f", "must be `module:name`"),
        ("json:dumps", "put `@st.measure"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_sentence(address: Any, said: Any) -> None:
    from harness.measures.measure import Measure

    with pytest.raises(InputError, match=said):
        load(address, Measure)


def test_a_module_beside_a_file_is_found_and_shadows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_beside.py").write_text("def f(r): return 1\n")
    (tmp_path / "json.py").write_text("raise SystemExit\n")
    look_in(tmp_path)
    assert load("own_beside:f")("x") == 1
    assert (door.root_of("own_beside:f"), door.root_of("json:dumps")) == (tmp_path.resolve(), None)
    assert load("json:dumps")([1]) == "[1]"


def test_only_what_lies_in_a_module_can_travel() -> None:
    assert is_importable("a.b:c.d")
    assert not is_importable("__main__:f")
    assert not is_importable("m:f.<locals>.g")
    door.lend("json:dumps", door)  # under the name of something else
    assert not is_importable("json:dumps")
    door.take_back()
    assert is_address("a.b:c")
    assert not is_address("C:\\judge")


def test_arguments_are_asked_for_by_name() -> None:
    assert parameters(lambda reply, prompt, own=3: 0, ("prompt",), first="the reply") == ("prompt",)
    for function in (lambda: 0, lambda reply, answer: 0):
        with pytest.raises(InputError, match=r"may ask for|must take"):
            parameters(function, ("prompt",), first="the reply")


def test_a_failure_says_its_line() -> None:
    with pytest.raises(ValueError) as raised:
        int("odd\nreply")
    assert failure(raised.value).startswith("ValueError: invalid literal")
    assert "(test_functions.py:" in failure(raised.value)
