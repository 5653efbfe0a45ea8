"""The ten invariants of a conversation, checked over what a session was given and what it answered.

Used by the random walks over the core and by the dialogues that run on the real runtime.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from antiphon.core import effects as fx
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.items import LIVE, FunctionCallOutput, Message
from antiphon.core.session import open_session, step
from antiphon.core.speech import Clause, heard_text
from antiphon.core.state import State


@dataclass
class Watch:
    """Feed it every step; it asserts what must hold after each."""

    config: Config
    seed: str = "seed0000"
    state: State = field(init=False)
    opening: tuple[fx.Effect, ...] = field(init=False)
    inputs: list[inp.Input] = field(default_factory=list)
    effects: list[tuple[fx.Effect, ...]] = field(default_factory=list)
    open_responses: dict[str, ev.ResponseView] = field(default_factory=dict)
    done_responses: set[str] = field(default_factory=set)
    open_items: dict[str, str] = field(default_factory=dict)
    open_parts: dict[str, str] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    used: int = 0
    clauses: dict[str, str] = field(default_factory=dict)
    played: dict[str, list[fx.Play]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state, self.opening = open_session(self.config, seed=self.seed, at=0.0)

    def feed(self, i: inp.Input) -> tuple[fx.Effect, ...]:
        before, kept = self.state, copy.copy(self.state)
        after, effects = step(before, i)
        assert before == kept, "step changed the state it was given"
        if before.ended:
            assert effects == (), f"effects after the end: {effects}"  # 8
        self.state = after
        self.inputs.append(i)
        self.effects.append(effects)
        self.see(effects)
        return effects

    def see(self, effects: tuple[fx.Effect, ...]) -> None:
        for n, effect in enumerate(effects):
            match effect:
                case fx.Emit(event):
                    self._event(event)
                case fx.RunTool(call_id=call_id):
                    self.runs[call_id] = self.runs.get(call_id, 0) + 1
                    assert self.runs[call_id] == 1, f"tool {call_id} ran twice"  # 4
                case fx.Synthesize(job=job, text=text):
                    assert text, "an empty clause was sent to the TTS"
                    self.clauses[job] = text
                case fx.Play():
                    self.played.setdefault(effect.item_id, []).append(effect)
                case fx.End():
                    assert n == len(effects) - 1, "something after End"
                    assert not self.open_responses, f"open at the end: {self.open_responses}"
                    assert not self.open_items and not self.open_parts
                case fx.Generate():
                    self._history(effect)
                case _:
                    pass

    def _event(self, event: ev.Event) -> None:
        response_id = getattr(event, "response_id", None)
        playout = isinstance(event, ev.PlayoutStarted | ev.PlayoutStopped | ev.PlayoutCleared | ev.TurnMetrics)
        if response_id is not None and not playout and not isinstance(event, ev.Interrupted):
            assert response_id in self.open_responses, f"{event} outside its response"  # 2
        match event:
            case ev.ResponseStarted(r):
                assert r.id not in self.done_responses and r.id not in self.open_responses
                if not r.out_of_band:  # 1
                    assert all(o.out_of_band for o in self.open_responses.values()), "two active responses"
                self.open_responses[r.id] = r
            case ev.ResponseDone(r):
                assert r.id in self.open_responses, "a second terminal event"  # 2
                assert r.status != "in_progress"
                assert r.config is self.open_responses[r.id].config  # 7
                assert r.id not in self.open_items.values(), "an item was never closed"
                assert r.id not in self.open_parts.values(), "a part was never closed"
                del self.open_responses[r.id]
                self.done_responses.add(r.id)
            case ev.OutputItemAdded(response_id=rid, item=item):
                assert item.id not in self.open_items
                self.open_items[item.id] = rid
            case ev.OutputItemDone(item=item):
                assert self.open_items.pop(item.id, None) is not None, "item closed twice or never opened"
                assert item.status in ("completed", "incomplete")
            case ev.PartAdded(response_id=rid, item_id=item_id):
                self.open_parts[item_id] = rid
            case ev.PartDone(item_id=item_id):
                assert self.open_parts.pop(item_id, None) is not None
            case ev.Committed(audio=audio):  # 5
                last = audio[-1]
                if last.clip == LIVE and last.samples:
                    assert last.start >= self.used, f"audio used twice: {last} after {self.used}"
                    self.used = last.end
            case ev.Ended(record):
                total = sum(s.end - s.start for s in record.timeline)
                assert abs(total - record.seconds) < 1e-6, f"timeline sums to {total}, call lasted {record.seconds}"
                assert all(a.end == b.start for a, b in zip(record.timeline, record.timeline[1:], strict=False))
            case _:
                pass

    def _history(self, asked: fx.Generate) -> None:
        for n, item in enumerate(asked.history):
            if isinstance(item, FunctionCallOutput):
                call = asked.history[n - 1]
                assert getattr(call, "call_id", None) == item.call_id, "an output not behind its call"
            if isinstance(item, Message) and item.role == "assistant":
                assert item.text, "an empty assistant message in the history"

    def unheard(self, heard: int) -> list[str]:
        """Items whose history holds more than what was heard of them, for server-owned playout that has stopped."""
        wrong = []
        for item in self.state.conversation.items:
            if isinstance(item, Message) and item.id in self.played:
                plays = self.played[item.id]
                jobs = list(dict.fromkeys(p.job for p in plays))
                samples = {j: sum(p.end - p.start for p in plays if p.job == j) for j in jobs}
                start, clauses = 0, []
                for j in jobs:
                    clauses.append(Clause(j, self.clauses[j], start, samples[j], done=True))
                    start += samples[j]
                most = len(heard_text(clauses, min(heard, start)).split())
                if len(item.text.split()) > most + 1:
                    wrong.append(f"{item.text!r}: {most} words heard")
        return wrong

    def replay(self) -> None:
        """The same inputs give the same effects (10)."""
        state, opening = open_session(self.config, seed=self.seed, at=0.0)
        assert opening == self.opening
        for i, expected in zip(self.inputs, self.effects, strict=True):
            state, effects = step(state, i)
            assert effects == expected
        assert state == self.state
