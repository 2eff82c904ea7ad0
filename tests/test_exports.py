"""The public names of the packages: what type checkers read, and what is imported when."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import pocketenv_fp
from pocketenv_fp import pocketenv, sandbox
from pocketenv_fp.exports import exports
from tests.names import public_names
from tests.places import ROOT

PACKAGES = [pocketenv_fp, pocketenv, sandbox]
EACH = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)

FIRST_PIPELINE = "from pocketenv_fp import create, start, exec, ephemeral"
LATER = {
    *("account", "explaining", "terminal", "archive", "extras", "errors.maps", "pocketenv.sweeping"),
    *("steps.aio", "steps.combinators", "steps.fan_out", "steps.functions", "steps.results", "steps.trace"),
    *("sandbox.copying", "sandbox.file_system", "sandbox.inside", "sandbox.readiness", "sandbox.restarting"),
    *("sandbox.records", "sandbox.services", "sandbox.secrets", "sandbox.variables", "sandbox.volumes"),
    *(f"sandbox.commands.{name}" for name in ("code", "job_lines", "job_requests", "jobs", "sh", "spawn", "template")),
}
HEAVY = {"asyncio", "importlib.metadata", "logging", "nacl", "pathlib", "requests", "tempfile", "toolz", "urllib.parse"}


def static_names(package: ModuleType) -> Iterator[tuple[str, object]]:
    """The names that a type checker reads from the imports of the package."""
    tree = ast.parse(inspect.getsource(package))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pocketenv_fp"):
            module = import_module(node.module)
            for each in node.names:
                if each.name == "*":
                    yield from ((name, getattr(module, name)) for name in public_names(module))
                elif each.asname:
                    yield each.name, getattr(module, each.name)


def in_a_new_process(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    ).stdout


@EACH
def test_exports_static_imports(package: ModuleType) -> None:
    """The exported names are those that the package imports for type checkers."""
    names = dict(static_names(package))
    assert sorted(names) == public_names(package)
    assert all(getattr(package, name) is value for name, value in names.items())


@EACH
def test_exports_dir(package: ModuleType) -> None:
    """`dir` lists the exported names in sorted order."""
    assert set(public_names(package)) <= set(dir(package))
    assert dir(package) == sorted(dir(package))


@EACH
def test_exports_unknown_name(package: ModuleType) -> None:
    """An unknown name raises an AttributeError with its name and package."""
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'no_such_name'") as raised:
        package.no_such_name  # noqa: B018  # the access raises
    # With these, Python suggests a similar name.
    assert (raised.value.name, raised.value.obj) == ("no_such_name", package)


def test_exports_module_without_import() -> None:
    """A submodule is an attribute without an import of its own."""
    _, get, _ = exports("pocketenv_fp", {"errors.maps": "to_map"})
    assert get("errors") is import_module("pocketenv_fp.errors")


@pytest.mark.parametrize("program", ["import pocketenv_fp", FIRST_PIPELINE])
def test_import_loads_used_modules(program: str) -> None:
    """An import loads no module that the program does not use."""
    # Tools that measure coverage load modules of their own before the program.
    text = f"import sys\nbefore = {{*sys.modules}}\n{program}\nprint(*{{*sys.modules}} - before)"
    loaded = in_a_new_process(text).split()
    assert HEAVY & set(loaded) == set()
    assert {f"pocketenv_fp.{name}" for name in LATER} & set(loaded) == set()
    if program != FIRST_PIPELINE:
        assert len([name for name in loaded if name.startswith("pocketenv_fp")]) <= 6
        assert {"msgspec", "returns"} & set(loaded) == set()


IN_THREADS = """
import sys, threading
import pocketenv_fp
sys.setswitchinterval(1e-5)
names = pocketenv_fp.__all__
start = threading.Barrier(8)
wrong = []
def use(turn):
    start.wait()
    for name in names[turn * 20:] + names[:turn * 20]:
        try:
            getattr(pocketenv_fp, name)
        except BaseException as error:
            wrong.append((name, error))
threads = [threading.Thread(target=use, args=(turn,)) for turn in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(wrong)
"""


def test_import_first_use_in_threads() -> None:
    """Several threads may use the names for the first time together."""
    assert in_a_new_process(IN_THREADS) == "[]\n"


class _DeadlockError(RuntimeError):
    """Stands for Python's own, which has the same name and is private."""


def test_exports_deadlock_of_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that Python ends as a deadlock of two threads is tried again."""
    errors = [_DeadlockError("deadlock detected"), _DeadlockError("deadlock detected")]

    def imported(module: str) -> ModuleType:
        if errors:
            raise errors.pop()
        return import_module(module)

    monkeypatch.setattr(sys.modules[exports.__module__], "import_module", imported)
    _, get, _ = exports("pocketenv_fp", {"errors": "NameTaken"})
    assert get("NameTaken") is pocketenv_fp.NameTaken
    assert errors == []


INTERRUPTED = """
import sys
import pocketenv_fp
def interrupt(box):
    before.update(sys.modules)
    raise KeyboardInterrupt
before = {}
try:
    pocketenv_fp.managed(pocketenv_fp.start.map(interrupt))("interrupted")
except KeyboardInterrupt:
    print(*(name for name in sys.modules if name.startswith("pocketenv_fp") and name not in before))
print(pocketenv_fp.get_sandbox("interrupted"))
"""


@pytest.mark.usefixtures("environment")
def test_release_loads_no_module() -> None:
    """An import in a release could wait for the thread, or be inside of the import, that a signal interrupted."""
    assert in_a_new_process(INTERRUPTED) == "\n<Success: None>\n"


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def test_import_through_the_package() -> None:
    """Two threads would wait for each other.

    One imports a package, which imports its module. The other imports the module first, which imports its package.
    """
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in Path(pocketenv_fp.__path__[0]).rglob("*.py")
        if "local" not in path.parts
    }
    imports = {name: set(imported(ast.parse(path.read_text(encoding="utf-8")))) for name, path in files.items()}
    own = {
        module
        for name, path in files.items()
        if path.name == "__init__.py" and "TYPE_CHECKING" not in path.read_text(encoding="utf-8")
        for module in imports[name]
        if module.startswith(f"{name}.")
    }
    assert own
    past = {
        (name, module)
        for name, modules in imports.items()
        for module in modules & own
        if not f"{name}.".startswith(f"{module.rpartition('.')[0]}.")
    }
    assert past == set()
