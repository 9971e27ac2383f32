"""The Relax stack: importer, passes, templates, MetaSchedule."""

from __future__ import annotations
