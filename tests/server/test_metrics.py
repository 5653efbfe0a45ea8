from __future__ import annotations

from antiphon.runtime.manager import Statistics
from antiphon.server.metrics import Metrics


def statistics(opened: int) -> Statistics:
    return Statistics(
        open=opened,
        unwinding=0,
        opened=opened,
        refused=0,
        ended={},
        vad_frames=0,
        vad_batches=0,
        late_frames=0,
    )


def test_session_figures_are_read_anew_each_time() -> None:
    metrics = Metrics()
    now: list[Statistics] = []
    metrics.watch_sessions(lambda: now[-1] if now else None)
    assert b"antiphon_sessions" not in metrics.exposition(), "there is no manager yet"
    for opened in (1, 4):
        now.append(statistics(opened))
        assert f"antiphon_sessions_active {opened}.0\n".encode() in metrics.exposition()


def test_the_process_and_the_version_are_told() -> None:
    text = Metrics().exposition().decode()
    assert "process_resident_memory_bytes " in text
    assert 'antiphon_build_info{version="' in text


def test_registries_are_apart() -> None:
    one, other = Metrics(), Metrics()
    one.http_requests.labels("GET", "/x", 200).inc()
    assert 'route="/x"' in one.exposition().decode()
    assert 'route="/x"' not in other.exposition().decode()
