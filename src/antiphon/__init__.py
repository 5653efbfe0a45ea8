"""Antiphon: a self-hosted server for live voice conversations with AI agents."""

__version__ = "0.1.0"
