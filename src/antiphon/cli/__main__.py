"""``python -m antiphon.cli``: the ``antiphon`` command where its script is not on the path."""

from __future__ import annotations

from antiphon.cli import main

main()
