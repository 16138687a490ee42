"""The tables of the run store, and how each version of them is made from the one before."""

from typing import Final

APPLICATION_ID: Final = 0x544B5852
"""Says of an SQLite file that it is a run store."""

_FIRST: Final = """
CREATE TABLE runs (
  name TEXT PRIMARY KEY, created REAL NOT NULL, config TEXT NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, latest TEXT,
  restoring TEXT, lr_scale REAL NOT NULL DEFAULT 1.0, rollbacks INTEGER NOT NULL DEFAULT 0, status TEXT,
  host TEXT, boot TEXT, pid INTEGER, started INTEGER
) STRICT;
CREATE UNIQUE INDEX runs_by_folder ON runs (name COLLATE NOCASE);
CREATE TABLE epochs (
  run TEXT NOT NULL, epoch INTEGER NOT NULL, reason TEXT NOT NULL, began_from TEXT, at REAL NOT NULL,
  host TEXT NOT NULL, pid INTEGER NOT NULL, PRIMARY KEY (run, epoch)
) STRICT;
CREATE TABLE sessions (
  run TEXT NOT NULL, session_id TEXT NOT NULL, epoch INTEGER NOT NULL, model_id TEXT NOT NULL, at REAL NOT NULL,
  ended REAL, PRIMARY KEY (run, session_id)
) STRICT;
CREATE TABLE checkpoints (
  run TEXT NOT NULL, manifest TEXT NOT NULL, pinned INTEGER NOT NULL DEFAULT 0, path TEXT, retired REAL, deleted REAL,
  renewed REAL, expires REAL, PRIMARY KEY (run, manifest)
) STRICT;
CREATE TABLE commands (
  id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, command TEXT NOT NULL, at REAL NOT NULL, result TEXT,
  answered REAL
) STRICT;
CREATE INDEX commands_open ON commands (run, id) WHERE answered IS NULL;
"""

MIGRATIONS: Final = (_FIRST,)
"""A version that was released is never edited."""

VERSION: Final = len(MIGRATIONS)
