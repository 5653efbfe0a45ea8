"""The engine ports and their implementations."""
