"""What outlives a session: projects, keys and client secrets, in one store."""
