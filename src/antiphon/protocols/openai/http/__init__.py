"""The REST calls: ephemeral keys for the realtime socket, and the plain APIs over the same engines."""
