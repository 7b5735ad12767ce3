"""The worker's settings: one YAML file, overridden by the environment, checked as a whole.

- The environment beats the file: ``STREAM_GUARD_HTTP__PORT=0`` is ``http.port`` (two underscores between
  section and field). Lists are written with commas, an empty variable counts as not set, and
  ``STREAM_GUARD_TEST_*`` belongs to the tests.
- A name that no setting has, in either, is an error with the nearest name there is.
- Relative paths mean the file's folder in the file, and the working directory in the environment.
- Secrets come from the environment or from files of their own, never from the YAML file, and are never
  printed.
"""

from __future__ import annotations

from stream_guard.settings.loading import SettingsError, environment_names, load_settings
from stream_guard.settings.model import Settings

__all__ = ["Settings", "SettingsError", "environment_names", "load_settings"]
