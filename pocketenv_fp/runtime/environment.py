"""Fast access to environment variables that every call reads.

`os.environ.get` raises and catches an exception for each unset variable. That takes ten times as long as a lookup in
the dict inside `os.environ`.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["Variables"]


class Variables:
    """Some environment variables, read at each call.

    >>> import os
    >>> from pocketenv_fp.runtime.environment import Variables
    >>> os.environ["A_NAME"] = "value"
    >>> Variables("A_NAME", "A_NAME_THAT_IS_NOT_SET").values()
    ('value', None)
    """

    __slots__ = ("_keys", "_names")

    def __init__(self, *names: str) -> None:
        encode: Any = getattr(os.environ, "encodekey", str)
        self._names = names
        self._keys = tuple(encode(name) for name in names)

    def raw(self) -> tuple[object, ...]:
        """Return the values in the operating system's form, to compare them with earlier ones."""
        data: Any = getattr(os.environ, "_data", None)
        return tuple(map(os.environ.get, self._names) if data is None else map(data.get, self._keys))

    def values(self) -> tuple[str | None, ...]:
        """Return the values, with None for each variable that is not set."""
        return tuple([value if value is None else os.fsdecode(value) for value in self.raw()])  # type: ignore[arg-type]  # str or bytes
