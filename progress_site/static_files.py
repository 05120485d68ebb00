"""How collected static files are named and served."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    """Compressed files with hashed names. Modules of JavaScript import one another by them as well."""

    support_js_module_import_aggregation = True
