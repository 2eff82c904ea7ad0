"""The engines that run code: Python's own compiler, as at its prompt, or IPython."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from pocketenv_fp.sandbox.inside.displays import Displays, bundled, png, sendable


def attempt(work: Callable[[], str], otherwise: str) -> str:
    """Return the result of ``work``, or ``otherwise`` if it raises: methods of the code may raise anything."""
    try:
        return work()
    except BaseException:
        return otherwise


def explained(error: BaseException) -> dict[str, str]:
    """Return the class, the message and the traceback of an exception."""
    import traceback

    trace = error.__traceback__
    while trace and not trace.tb_frame.f_code.co_filename.startswith("<run "):
        trace = trace.tb_next
    kind = attempt(lambda: sendable(type(error).__name__), "Exception")
    message = attempt(lambda: sendable(error), "its message cannot be read")
    lines = attempt(lambda: "".join(traceback.format_exception(type(error), error, trace)), f"{kind}: {message}\n")
    return {"kind": kind, "message": message, "traceback": sendable(lines)}


class Plain:
    """Runs code as Python's prompt does, with the standard library."""

    def __init__(self, displays: Displays) -> None:
        import builtins
        import types

        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self.names = module.__dict__
        self.bundle = bundled
        self.loop: Any = None

        def display(*values: object) -> None:
            for value in values:
                displays.add(bundled(value))

        builtins.display = display  # type: ignore[attr-defined]

    def run(self, source: str, number: int) -> tuple[object, None]:
        import ast
        import linecache

        name = f"<run {number}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(source, name, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        last = tree.body.pop().value if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        self.evaluate(compile(tree, name, "exec", flags, dont_inherit=True))
        if last is None:
            return None, None
        value = self.evaluate(compile(ast.Expression(last), name, "eval", flags, dont_inherit=True))
        if value is not None:
            self.names["_"] = value
        return (None if source.rstrip().endswith(";") else value), None

    def evaluate(self, code: Any) -> object:
        import inspect

        if not code.co_flags & inspect.CO_COROUTINE:
            return eval(code, self.names)  # it is what this is for
        import asyncio

        self.loop = self.loop or asyncio.new_event_loop()
        task = self.loop.create_task(eval(code, self.names))
        try:
            return self.loop.run_until_complete(task)
        except BaseException:
            task.cancel()
            self.loop.run_until_complete(asyncio.wait([task]))
            raise


def engine(displays: Displays) -> Any:
    """Return the engine: IPython if it is installed, otherwise Python's own compiler."""
    import importlib.util

    if importlib.util.find_spec("IPython"):
        try:
            return with_ipython(displays)
        except Exception:  # a version with another interface: use Python's own compiler
            return Plain(displays)
    return Plain(displays)


def with_ipython(displays: Displays) -> Any:  # noqa: C901  # its classes need IPython
    import types

    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    jobs = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    os.environ.setdefault("IPYTHONDIR", os.path.join(jobs, ".contexts", ".ipython"))

    class Hook(DisplayHook):
        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            pass

        def finish_displayhook(self) -> None:
            self._is_active = False

    class Publisher(DisplayPublisher):
        def publish(self, data: dict[str, Any], *_: object, **__: object) -> None:
            displays.add(data)

        def clear_output(self, *_: object, **__: object) -> None:
            displays.clear()

    class Shell(InteractiveShell):
        displayhook_class = Hook
        display_pub_class = Publisher
        trace = ""

        def _showtraceback(self, _: object, __: object, lines: list[str]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            self.trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines)) + "\n"

        def enable_gui(self, gui: object = None) -> None:
            pass

    module = types.ModuleType("__main__")
    shell: Any = Shell.instance(user_module=module, user_ns=module.__dict__)
    shell.history_manager.enabled = False
    sys.modules["__main__"] = module
    formatter = shell.display_formatter.formatters["image/png"]
    formatter.for_type_by_name("matplotlib.figure", "Figure", png)

    class Engine:
        def bundle(self, value: object) -> dict[str, Any]:
            return shell.display_formatter.format(value)[0]  # type: ignore[no-any-return]

        def run(self, source: str, _: int) -> tuple[object, Any]:
            shell.trace = ""
            result = shell.run_cell(source, store_history=True)
            error = result.error_before_exec or result.error_in_exec
            if error is None:
                return (None if source.rstrip().endswith(";") else result.result), None
            known = explained(error)
            return None, {**known, "traceback": sendable(shell.trace or known["traceback"])}

    return Engine()
