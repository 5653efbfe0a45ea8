"""Client SDKs for the three protocols. They need nothing of the server."""
