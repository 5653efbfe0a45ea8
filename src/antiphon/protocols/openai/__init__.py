"""The OpenAI Realtime protocol in its two dialects, GA and beta, and the REST calls beside it.

``routes`` gives the WebSocket paths, ``rest.router`` the HTTP ones; ``docs/openai-realtime.md`` lists every event.
"""
