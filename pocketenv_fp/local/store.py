"""The platform's state: one SQLite file.

Only the server's thread uses the one connection. So a handler that does not await is a transaction that no other handler
can enter. The operating system has a write when the statement returns: a SIGKILL after that loses nothing.
"""

import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY,
    did TEXT NOT NULL UNIQUE,
    handle TEXT NOT NULL UNIQUE,
    display_name TEXT,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS bases (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    uri TEXT NOT NULL UNIQUE,
    installs INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS sandboxes (
    id TEXT PRIMARY KEY,
    owner TEXT REFERENCES users ON DELETE CASCADE,
    name TEXT NOT NULL UNIQUE,
    uri TEXT UNIQUE,
    provider TEXT NOT NULL,
    base TEXT NOT NULL,
    repo TEXT,
    description TEXT,
    topics TEXT,
    keep_alive INTEGER NOT NULL DEFAULT 0,
    stopped INTEGER NOT NULL DEFAULT 0,
    ready_at REAL NOT NULL,
    environment TEXT NOT NULL DEFAULT '[]',
    created_at REAL NOT NULL,
    started_at REAL,
    shown_port INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS sandboxes_by_owner ON sandboxes (owner, created_at DESC);

CREATE TABLE IF NOT EXISTS secrets (
    id TEXT PRIMARY KEY,
    sandbox TEXT REFERENCES sandboxes ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    redacted TEXT,
    created_at REAL NOT NULL,
    UNIQUE (sandbox, name)
) STRICT;

CREATE TABLE IF NOT EXISTS variables (
    id TEXT PRIMARY KEY,
    sandbox TEXT REFERENCES sandboxes ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    UNIQUE (sandbox, name)
) STRICT;

CREATE TABLE IF NOT EXISTS ports (
    sandbox TEXT NOT NULL REFERENCES sandboxes ON DELETE CASCADE,
    port INTEGER NOT NULL,
    description TEXT,
    preview_url TEXT,
    PRIMARY KEY (sandbox, port)
) STRICT;

CREATE TABLE IF NOT EXISTS ssh_keys (
    sandbox TEXT PRIMARY KEY REFERENCES sandboxes ON DELETE CASCADE,
    id TEXT NOT NULL,
    private_key TEXT NOT NULL,
    public_key TEXT NOT NULL,
    redacted TEXT,
    created_at REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS tailscale_keys (
    sandbox TEXT PRIMARY KEY REFERENCES sandboxes ON DELETE CASCADE,
    id TEXT NOT NULL,
    auth_key TEXT NOT NULL,
    redacted TEXT,
    created_at REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS backups (
    id TEXT PRIMARY KEY,
    sandbox TEXT NOT NULL REFERENCES sandboxes ON DELETE CASCADE,
    directory TEXT NOT NULL,
    description TEXT,
    expires_at REAL NOT NULL,
    created_at REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS restores (
    archive TEXT PRIMARY KEY,
    sandbox TEXT NOT NULL REFERENCES sandboxes ON DELETE CASCADE,
    directory TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY,
    sandbox TEXT NOT NULL REFERENCES sandboxes ON DELETE CASCADE,
    path TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    UNIQUE (sandbox, path)
) STRICT;

CREATE TABLE IF NOT EXISTS reached (
    sandbox TEXT NOT NULL REFERENCES sandboxes ON DELETE CASCADE,
    path TEXT NOT NULL,
    PRIMARY KEY (sandbox, path)
) STRICT;

CREATE TABLE IF NOT EXISTS volumes (
    id TEXT PRIMARY KEY,
    sandbox TEXT NOT NULL REFERENCES sandboxes ON DELETE CASCADE,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    UNIQUE (sandbox, path)
) STRICT;

CREATE TABLE IF NOT EXISTS services (
    id TEXT PRIMARY KEY,
    sandbox TEXT NOT NULL REFERENCES sandboxes ON DELETE CASCADE,
    name TEXT NOT NULL,
    command TEXT NOT NULL,
    description TEXT,
    ports TEXT NOT NULL DEFAULT '[]',
    wanted INTEGER NOT NULL DEFAULT 1,
    running INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    UNIQUE (sandbox, name)
) STRICT;
"""
# The version of these tables. A file with other tables cannot be read.
EDITION = 3

Value = str | int | float | None
R = TypeVar("R", bound=NamedTuple)


class Store:
    """The open database of one platform."""

    def __init__(self, path: Path) -> None:
        # Built in the thread that makes the platform, then used by the server's thread only.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A process that dies loses nothing under NORMAL. Only a power cut could undo the last writes.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        if self.count("SELECT count(*) FROM sqlite_master") and self.count("PRAGMA user_version") != EDITION:
            self._connection.close()
            raise OSError(f"{path} was made by another version of pocketenv_fp: choose another folder")
        self._connection.executescript(SCHEMA)
        self._connection.execute(f"PRAGMA user_version = {EDITION}")

    def rows(self, sql: str, *values: Value) -> list[tuple[Any, ...]]:
        """Return every row of the query."""
        return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Value) -> tuple[Any, ...] | None:
        """Return the first row of the query, or None."""
        first: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
        return first

    def select(self, fields: Sequence[str], table: str, rest: str = "", *values: Value) -> list[tuple[Any, ...]]:
        """Return these columns of the rows that `rest` (WHERE and the clauses after it) selects."""
        return self.rows(f"SELECT {', '.join(fields)} FROM {table} {rest}", *values)  # noqa: S608 - none of it is input

    def all(self, kind: type[R], table: str, rest: str = "", *values: Value) -> list[R]:
        """Return the rows that `rest` selects, as tuples of this kind: its fields are columns of the table."""
        return [kind._make(row) for row in self.select(kind._fields, table, rest, *values)]

    def first(self, kind: type[R], table: str, rest: str, *values: Value) -> R | None:
        """Return the first of these rows, or None."""
        return next(iter(self.all(kind, table, rest, *values)), None)

    def count(self, sql: str, *values: Value) -> int:
        """Return the single number of the query."""
        row = self.row(sql, *values)
        return int(row[0]) if row else 0

    def write(self, sql: str, *values: Value) -> int:
        """Return the number of changed rows. The write is safe against a crash of the process."""
        return self._connection.execute(sql, values).rowcount

    def change(self, table: str, where: str, key: Sequence[Value], **values: Value) -> int:
        """Set new values in the rows that match `where`, with `key` for its placeholders. Return their number."""
        _check(values.values())
        settings = ", ".join(f"{name} = ?" for name in values)
        sql = f"UPDATE {table} SET {settings} WHERE {where}"  # noqa: S608 - none of it is input
        return self.write(sql, *values.values(), *key)

    def remove(self, table: str, where: str, *key: Value) -> int:
        """Delete rows. Return their number."""
        return self.write(f"DELETE FROM {table} WHERE {where}", *key)  # noqa: S608 - none of it is input

    def insert(self, table: str, **values: Value) -> None:
        """Add one row. A taken name or an unknown sandbox raises sqlite3.IntegrityError."""
        _check(values.values())
        marks = ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608 - none of it is input
        self.write(sql, *values.values())

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Do all writes in the block, or none. Nothing in it may await."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file. The state stays on the disk."""
        self._connection.close()


def _check(values: Iterable[Value]) -> None:
    # Postgres, which the platform uses, stores no string with a NUL.
    if any(isinstance(value, str) and "\0" in value for value in values):
        raise sqlite3.IntegrityError("a text has a NUL")
