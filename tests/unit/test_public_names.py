"""The names of `import screentest`: these and no others, each typed and documented, and quick to have."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import screentest as st

NAMES = {
    "ablate", "compare", "evaluate", "judge", "judges", "measure", "qualify", "study", "train",
    "Claim", "Found", "JudgedItem",
}  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert set(st.__all__) == NAMES
    assert {name for name in vars(st) if not name.startswith("_") and inspect.isfunction(vars(st)[name])} <= NAMES


def test_each_is_documented_and_typed_and_so_is_every_argument() -> None:
    for name in NAMES:
        thing = getattr(st, name)
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            assert signature.return_annotation is not signature.empty
            untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
            untold = [p for p in signature.parameters if p not in (thing.__doc__ or "") + "file profile name executor"]
            assert not untyped
            assert len(signature.parameters) < 4 or re.search("Raises:|Args:", thing.__doc__ or "")
            assert name in ("ablate", "evaluate") or not untold, untold


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'mlflow', 'pandas', 'numpy', 'pydantic', 'harness', 'pipelines'}"
    code = f"import sys, screentest; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
