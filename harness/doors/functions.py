"""Functions and models of the user's own: found by `module:name`, called with what they ask for, named by content.

Importing a module runs it, so only what a person names in a call or in a file of settings is imported, from installed
packages first and from the folder of that file and the current one after all others: a file there shadows nothing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import inspect
import re
import sys
import sysconfig
import types
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from harness.errors import InputError

_ADDRESS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.<>]*")
_MOST_WORDS = 200  # characters of an exception's own words
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
_NO_CONTENT = "unnamed"
UNNAMED = "its source or what it reads cannot be told by content, so that its results are never found again"
_PLAIN = (bool, int, float, complex, str, bytes, type(None), Path, re.Pattern)
_LENT: dict[str, Any] = {}  # what a Python caller hands over for as long as its call lasts, by address or digest


class UnnamedError(Exception):
    """A value that no digest can be made of."""


def is_address(text: str) -> bool:
    """Whether a text is `module:name`."""
    return _ADDRESS.fullmatch(text) is not None


def address_of(function: Any) -> str:
    """`module:name` of a function or of what a decorator made of one."""
    return f"{function.__module__}:{function.__qualname__}"


def is_importable(address: str) -> bool:
    """Whether another process finds it: nothing of a notebook, a script or the inside of a function can be found."""
    module, _, name = address.partition(":")
    if module == "__main__" or "<" in name:
        return False
    ours = _LENT.get(address)
    with contextlib.suppress(InputError):
        # By its code: a notebook that runs its cells again has imported the module anew.
        return ours is None or getattr(_imported(address), "code", "") == getattr(ours, "code", None)
    return False


def root_of(address: str) -> Path | None:
    """The folder that the module of an address was imported from; None where it is installed or not imported yet."""
    name = address.partition(":")[0]
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None or _is_library(module):
        return None
    return Path(file).resolve().parents[name.count(".") + (Path(file).stem == "__init__")]


def lend(key: str, thing: Any) -> None:
    """Keep an object of this process where `load` and `lent` find it."""
    _LENT[key] = thing


def lent(key: str) -> Any:
    """The object that was lent under this key, or None."""
    return _LENT.get(key)


def take_back() -> None:
    """Let go of everything that was lent."""
    _LENT.clear()


def look_in(folder: Path) -> None:
    """Have modules found in a folder, after all other places."""
    for place in map(str, (folder.resolve(), Path.cwd())):
        if place not in sys.path:
            sys.path.append(place)


def load(address: str, kind: type[Any] | None = None) -> Any:
    """What `module:name` names; it was lent by this process, or its module is imported.

    Raises InputError: there is no such module or name, the module cannot be imported, or it is no `kind`.
    """
    found = _LENT.get(address)
    if found is None:
        found = _imported(address)
    if kind is not None and not isinstance(found, kind):
        word = kind.__name__.lower().removeprefix("own")
        raise InputError(f"`{address}` must be a {word}, got {type(found).__name__}: put `@st.{word}(…)` above it")
    return found


def entry_point(group: str, name: str) -> str | None:
    """The `module:name` that an installed package offers in a group.

    Raises InputError: several offer something else each.
    """
    values = sorted({point.value for point in entry_points(group=group, name=name)})
    if len(values) > 1:
        shown = " and ".join(values)
        raise InputError(f"`{name}` must be offered by one installed package, got {shown}: write the one that is meant")
    return values[0] if values else None


def offered(group: str) -> dict[str, str]:
    """Everything that installed packages offer in a group, name → `module:name`."""
    return {point.name: point.value for point in sorted(entry_points(group=group))}


def failure(err: BaseException) -> str:
    """An exception of the user's in a few words, with the line of theirs that raised it."""
    said = " ".join(f"{type(err).__name__}: {err}".split())[:_MOST_WORDS]
    trace = err.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return said if trace is None else f"{said} ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"


def plain(said: Any) -> Any:
    """A number of NumPy's or torch's as Python's own; anything else as it is."""
    is_scalar = type(said).__module__.partition(".")[0] in ("numpy", "torch") and getattr(said, "shape", None) == ()
    return said.item() if is_scalar else said


def parameters(function: Callable[..., Any], known: tuple[str, ...], *, first: str) -> tuple[str, ...]:
    """The names under which a function wants its arguments; its first one is `first`, whatever it is called.

    Raises InputError: it asks for something that is not known.
    """
    asked = [
        p for p in inspect.signature(function).parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    names = [p.name for p in asked[1:] if p.default is p.empty or p.name in known]
    for name in names:
        if name not in known:
            shown = ", ".join(known)
            raise InputError(f"`{function.__name__}` may ask for {first}, then for {shown} by name, got `{name}`")
    if not asked:
        raise InputError(f"`{function.__name__}` must take {first} as its first argument, it takes none")
    return tuple(names)


def code_digest(function: Any) -> str:
    """Identity of a function by content: its source, defaults, closure and the globals of the user's that it reads.

    What it reads of other installed packages counts by name and version, the package that it lies in by its source.
    Where something that it reads has no content to tell, such as a model or a client, nothing that it makes can be
    found again: the identity is then a new one, for which `is_named` is false.
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    reading = _Reading(own=_package(getattr(inner, "__module__", None)))
    try:
        return hashlib.sha256("\n".join(_content(function, reading)).encode(errors="replace")).hexdigest()
    except UnnamedError:
        return f"{_NO_CONTENT} {uuid.uuid4().hex}"


def is_named(code: str) -> bool:
    """Whether a code's digest tells its content."""
    return not code.startswith(_NO_CONTENT)


def _imported(address: str) -> Any:
    if not is_address(address):
        raise InputError(f"`{address}` must be `module:name`, e.g. my_package.my_module:asks_back")
    module_name, _, path = address.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as err:  # a module of the user's may raise anything
        raise InputError(f"`{address}` must name a module that can be imported, got {failure(err)}") from err
    try:
        return functools.reduce(getattr, path.split("."), module)
    except AttributeError as err:
        where = getattr(module, "__file__", None) or "its module"
        raise InputError(f"`{address}` must name something in {where}; there is no `{path}`") from err


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is read of a function: the package that it lies in, and what was told of it so far, by id."""

    own: str
    seen: set[int] = field(default_factory=set)

    def is_foreign(self, module: str) -> bool:
        """Whether a module is of an installed package other than the function's own."""
        return _package(module) != self.own and _is_library(sys.modules.get(module))


def _package(module: str | None) -> str:
    """The outermost package of a module, or the one below where that is shared by several distributions."""
    parts = (module or "").split(".")
    names = [".".join(parts[: n + 1]) for n in range(len(parts))]
    return next((name for name in names if getattr(sys.modules.get(name), "__file__", None)), names[0])


def _package_content(name: str) -> str:
    """Every source file of an installed package; only its name where it is Python's own or has no file."""
    package = sys.modules[name]
    file = getattr(package, "__file__", None)
    if file is None or name.partition(".")[0] in sys.stdlib_module_names:
        return _library_name(package)
    files = sorted(Path(file).parent.rglob("*.py")) if hasattr(package, "__path__") else [Path(file)]
    return f"package {hashlib.sha256(b''.join(hashlib.sha256(f.read_bytes()).digest() for f in files)).hexdigest()}"


def _content(value: Any, reading: _Reading) -> list[str]:
    """Lines that say all of a value; each object once. Raises UnnamedError: it cannot be said."""
    if isinstance(value, _PLAIN):
        return [f"{type(value).__name__} {value!r}"]
    if id(value) in reading.seen:
        return ["again"]
    reading.seen.add(id(value))
    if isinstance(value, functools.partial):
        return ["partial", *_content([value.func, value.args, value.keywords], reading)]
    if isinstance(value, types.MethodType):
        return ["method", *_content([value.__self__, value.__func__], reading)]
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        parts: Any = [part for pair in value.items() for part in pair] if isinstance(value, Mapping) else value
        parts = sorted(parts, key=repr) if isinstance(value, set | frozenset) else parts
        return [type(value).__name__, *(line for part in parts for line in _content(part, reading)), "end"]
    return _code_content(value, reading)


def _code_content(value: Any, reading: _Reading) -> list[str]:
    """Of what has code: a module, a function, a class, or an object of a class of the user's."""
    if isinstance(value, types.ModuleType):
        return [_module_content(value, reading)]
    if isinstance(value, types.FunctionType):
        return _function_content(value, reading)
    if isinstance(value, type | types.BuiltinFunctionType):
        return [_class_content(value, reading)] if isinstance(value, type) else [_library_name(value)]
    if reading.is_foreign(type(value).__module__) or not hasattr(value, "__dict__"):
        raise UnnamedError(type(value).__name__)
    return [_class_content(type(value), reading), *_content(vars(value), reading)]


def _function_content(function: types.FunctionType, reading: _Reading) -> list[str]:
    inner = inspect.unwrap(function)
    if reading.is_foreign(function.__module__):
        return [_library_name(function)]
    try:
        read = inspect.getclosurevars(inner)
    except ValueError as err:  # a variable around it has no value yet
        raise UnnamedError(function.__name__) from err
    names, told = {**read.globals, **read.nonlocals}, []
    if _is_library(sys.modules.get(function.__module__)):  # what it reads of its package is told with the package
        names, told = dict(read.nonlocals), [_package_content(reading.own)]
    told += [] if inner is function else _content(function.__code__.co_code, reading)
    return [
        _source(inner), *told, *_content([inner.__defaults__, inner.__kwdefaults__], reading),
        *(line for name in sorted(names) for line in (name, *_content(names[name], reading))),
    ]  # fmt: skip


def _source(thing: Any) -> str:
    """The source, or the code that Python made of it where a prompt kept none."""
    try:
        # Of two lambdas in one line the source is the same.
        return inspect.getsource(thing) + (_code(thing.__code__) if thing.__name__ == "<lambda>" else "")
    except (OSError, TypeError) as err:
        if not hasattr(thing, "__code__"):
            raise UnnamedError(str(thing)) from err
        return _code(thing.__code__)


def _code(code: types.CodeType) -> str:
    constants = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code, code.co_names, constants))


def _class_content(kind: type, reading: _Reading) -> str:
    """A class of the user's: with all of its module, whose functions its methods may call."""
    module = sys.modules.get(kind.__module__)
    if reading.is_foreign(kind.__module__):
        return _library_name(kind)
    if module is None or module.__name__ == "__main__":
        return _source(kind)
    return _source(kind) + _module_content(module, reading)


def _module_content(module: types.ModuleType, reading: _Reading) -> str:
    file = getattr(module, "__file__", None)
    if file is None or reading.is_foreign(module.__name__):
        return _library_name(module)
    if _is_library(module):
        return _package_content(reading.own)
    return f"module {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"


def _library_name(thing: Any) -> str:
    module = thing.__name__ if isinstance(thing, types.ModuleType) else str(thing.__module__)
    try:
        held = version(module.partition(".")[0])
    except PackageNotFoundError:
        held = "" if module in sys.stdlib_module_names else "unknown"
    return f"{module}:{getattr(thing, '__qualname__', '')} {held}"


def _is_library(module: types.ModuleType | None) -> bool:
    """Whether a module was installed: a release has a version, a file of the user's has its source."""
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    return file is None or any(Path(file).is_relative_to(place) for place in _LIBRARIES)
