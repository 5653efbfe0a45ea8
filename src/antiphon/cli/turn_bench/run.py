"""Runs the tasks one after the other, on one virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from antiphon.audio.pcm import PCM
from antiphon.cli.call.setup import CallOptions, open_engines, read_settings, session_config
from antiphon.cli.turn_bench.material import TASKS, Dialogue, Task, dialogues
from antiphon.cli.turn_bench.play import FLOOR, play
from antiphon.cli.turn_bench.score import Result, end_of_turn, score, summary
from antiphon.cli.turn_bench.sound import Sounds
from antiphon.core.config import Config
from antiphon.core.items import INPUT_RATE
from antiphon.engines.local import local_engines
from antiphon.engines.ports import TurnDetector
from antiphon.runtime.clock import run_virtual
from antiphon.runtime.manager import Limits, SessionManager

_LOOK = 0.2
"""Seconds of silence after which the turn detector is asked."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        tasks: Which tasks.
        count: Dialogues a task.
        seed: What the dialogues are drawn from.
        turns: How a turn ends.
        engines: As ``--engine`` of ``converse``; the LLM and the voice are scripted unless it says otherwise.
        config: The settings file, or None for the usual one.
    """

    tasks: Sequence[Task] = TASKS
    count: int = 30
    seed: int = 1
    turns: Literal["silence", "semantic"] = "semantic"
    engines: Sequence[str] = ("stt=local", "llm=scripted", "tts=scripted")
    config: Path | None = None


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """Hold all dialogues and judge them.

    Args:
        plan: What to measure.
        progress: Told what is being done.

    Returns:
        ``tasks`` (:func:`~antiphon.cli.turn_bench.score.summary` by task), ``end_of_turn``, ``dialogues`` (one object
        each).

    Raises:
        AntiphonError: Settings, engines or voices are not as they should be.
    """
    options = CallOptions(plan.config, plan.engines, turns=plan.turns)
    settings = read_settings(options)
    config = session_config(options, settings)
    drawn = {task: list(dialogues(task, plan.count, plan.seed)) for task in plan.tasks}
    judged = {task: drawn.get(task) or list(dialogues(task, plan.count, plan.seed)) for task in ("pause", "turn")}
    sounds = Sounds()

    async def prepare() -> dict[str, float]:
        progress("speaking")
        local = local_engines(settings.data.models_dir)
        try:
            await sounds.make([one for group in (*drawn.values(), *judged.values()) for one in group], local.tts)
            progress("asking the turn detector")
            return await _detector(local.turn, judged["pause"], judged["turn"], sounds, config)
        finally:
            await asyncio.gather(*(e.close() for e in (local.turn, local.stt, local.llm, local.tts)))

    async def hold() -> list[Result]:
        results = []
        async with open_engines(settings) as engines:
            manager = SessionManager(engines, Limits(sessions=1))
            try:
                for task, group in drawn.items():
                    for number, dialogue in enumerate(group, 1):
                        progress(f"{task}: {number} of {len(group)}")
                        results.append(score(await play(dialogue, sounds, manager, config)))
            finally:
                await manager.close()
        return results

    detector = asyncio.run(prepare())
    results = run_virtual(hold())
    return {
        "turns": plan.turns,
        "seed": plan.seed,
        "tasks": {task: summary([one for one in results if one.task == task]) for task in drawn},
        "end_of_turn": detector,
        "dialogues": results,
    }


async def _detector(
    detector: TurnDetector, broken: Sequence[Dialogue], whole: Sequence[Dialogue], sounds: Sounds, config: Config
) -> dict[str, float]:
    floor = np.random.default_rng(1).normal(0, FLOOR, round(_LOOK * INPUT_RATE)).astype(np.int16)

    async def likely(dialogue: Dialogue) -> float:
        speech: PCM = np.concatenate([sounds.of(dialogue, dialogue.utterances[0]), floor])
        return await detector.predict(speech)

    pauses = [(await likely(dialogue), dialogue.utterances[1].after) for dialogue in broken]
    ends = [await likely(dialogue) for dialogue in whole]
    return end_of_turn(pauses, ends, replace(config.turn, mode="semantic"))
