"""How bytes reach a session: WebSocket connections, WebRTC peers, rooms. No wire format is known here."""
