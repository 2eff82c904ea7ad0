"""The displays of code: bundles of the forms of one thing, by their media types."""

from __future__ import annotations

import json
import sys
from typing import Any, cast

MOST_CHARACTERS = 100_000
MOST_DISPLAYED = 16_000_000
MOST_DISPLAYS = 1000
BACKEND = "pocketenv_figures"
METHODS = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
    "text/latex": "_repr_latex_",
    "application/json": "_repr_json_",
}


def sendable(text: object, most: int = MOST_CHARACTERS) -> str:
    """Return text that UTF-8 can encode, cut at a limit."""
    whole = str(text).encode("utf-8", "backslashreplace").decode()
    if len(whole) <= most:
        return whole
    return f"{whole[: most // 2]}… {len(whole) - most:,} characters …{whole[-most // 2 :]}"


class Displays:
    """The displays of one run: bundles of forms, by their media types."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.size = 0

    def clear(self) -> None:
        self.shown, self.size = [], 0

    def add(self, forms: dict[str, Any]) -> None:
        whole: dict[str, Any] = {}
        for kind, form in forms.items():
            try:
                name = sendable(kind)
                whole[name] = plain_json(form) if name.endswith("json") else encoded(form)
            except Exception:  # other code: there are further forms
                pass
        if not whole:
            return
        size = len(json.dumps(whole))
        if self.size + size > MOST_DISPLAYED:
            whole = {"text/plain": f"[a display of {size:,} bytes was left out: write it to a file]"}
        else:
            self.size += size
        if len(self.shown) < MOST_DISPLAYS:
            self.shown.append(whole)

    def figures(self, value: object) -> None:
        """Show the open figures of matplotlib, and close them. A figure that is the value is shown as such."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None or BACKEND not in str(pyplot.get_backend()).lower():
            return
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            pyplot.close(figure)
            if figure is not value:
                self.add({"image/png": png(figure), "text/plain": repr(figure)})


def plain_json(form: Any) -> Any:
    """Return a value of JSON. NaN and infinity, as in the data of charts, become None, as in a browser."""
    return json.loads(json.dumps(form), parse_constant=lambda _: None)


def encoded(form: Any) -> str:
    if isinstance(form, bytes):
        import base64

        return base64.b64encode(form).decode()
    return sendable(form, MOST_DISPLAYED)


def png(figure: Any) -> bytes:
    import io

    data = io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight")
    return data.getvalue()


class Finder:
    """Imports the backend by which matplotlib shows figures."""

    def __init__(self, displays: Displays) -> None:
        self.displays = displays

    def find_spec(self, name: str, *_: object) -> Any:
        import importlib.util

        return importlib.util.spec_from_loader(name, self) if name == BACKEND else None  # type: ignore[arg-type]

    def create_module(self, _: object) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        module.FigureCanvas = FigureCanvasAgg

        def show(*_: object, **__: object) -> None:
            self.displays.figures(None)

        module.show = show


def bundled(value: object) -> dict[str, Any]:
    """Return the forms that an object's own methods return."""
    forms: dict[str, Any] = {}
    if isinstance(value, type):
        return {"text/plain": repr(value)}
    figures = sys.modules.get("matplotlib.figure")
    if figures is not None and isinstance(value, figures.Figure):
        forms["image/png"] = png(value)
    elif (whole := called(value, "_repr_mimebundle_")) is not None:
        # A tuple has metadata too.
        known = first_of(whole)
        if isinstance(known, dict):
            forms.update(cast("dict[str, Any]", known))
    else:
        for kind, method in METHODS.items():
            form = called(value, method)
            if form is not None:
                forms[kind] = first_of(form)
    forms.setdefault("text/plain", sendable(repr(value)))
    return forms


def first_of(form: Any) -> Any:
    return form[0] if form.__class__ is tuple else form


def called(value: object, name: str) -> Any:
    method = getattr(type(value), name, None)
    try:
        return method(value) if callable(method) else None
    except Exception:  # other code: try its other forms
        return None
