"""The composition root: settings, the app factory, authentication, errors, health, metrics and logging."""
