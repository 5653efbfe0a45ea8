from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import numpy as np
import pytest

from antiphon.core import inputs as inp
from antiphon.core.items import Usage
from antiphon.engines.ports import (
    PCM,
    EngineError,
    LlmCall,
    LlmChunk,
    LlmDone,
    LlmRequest,
    LlmText,
    SttRequest,
    TtsChunk,
    TtsRequest,
)
from antiphon.runtime import jobs
from antiphon.runtime.clock import run_virtual
from antiphon.runtime.sound import Spoken


class Stranger:
    """An engine of every kind that answers, or raises, exactly what it was given."""

    name = "stranger"
    voices: Sequence[str] = ()

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.closed = 0

    async def warm_up(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _next(self, answer: Any) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def transcribe(self, request: SttRequest) -> str:
        return cast(str, self._next(self.answers[0]))

    async def predict(self, audio: PCM) -> float:
        return cast(float, self._next(self.answers[0]))

    async def _stream(self) -> AsyncIterator[Any]:
        try:
            for answer in self.answers:
                yield self._next(answer)
        finally:
            self.closed += 1

    def generate(self, request: LlmRequest) -> AsyncIterator[LlmChunk]:
        return self._stream()

    def synthesize(self, request: TtsRequest) -> AsyncIterator[TtsChunk]:
        return self._stream()


class Told:
    """What a session would have been told."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []

    def __call__(self, kind: type[Any], **fields: Any) -> None:
        self.inputs.append(kind(at=0.0, **fields))


def hear(*answers: Any, partial: bool = False) -> list[Any]:
    told = Told()
    request = SttRequest(np.zeros(16, np.int16), partial=partial)
    run_virtual(jobs.transcribe(Stranger(*answers), request, "job", told))
    return told.inputs


def think(*answers: Any) -> tuple[list[Any], int]:
    told, llm = Told(), Stranger(*answers)
    run_virtual(jobs.generate(llm, LlmRequest([]), "job", told))
    return told.inputs, llm.closed


def speak(*answers: Any) -> tuple[list[Any], Spoken]:
    told, spoken = Told(), Spoken(30.0)
    run_virtual(jobs.synthesize(Stranger(*answers), TtsRequest("hi"), "job", spoken, told))
    return told.inputs, spoken


def test_transcripts_are_told() -> None:
    assert hear(" hello ") == [inp.Transcribed(at=0.0, job="job", text="hello", final=True)]
    assert hear("he", partial=True) == [inp.Transcribed(at=0.0, job="job", text="he", final=False)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (EngineError("whisper", "timeout", "no answer within 5 s"), "whisper: no answer within 5 s"),
        (ZeroDivisionError("division by zero"), "stt failed: division by zero"),
        (None, "stranger: expected text, got NoneType"),
        (b"bytes", "stranger: expected text, got bytes"),
        (EngineError("whisper", "crashed", "x" * 10_000), "whisper: xxxx"),
    ],
)
def test_whatever_stt_does_is_one_failure_with_bounded_words(answer: Any, words: str) -> None:
    (failed,) = hear(answer)
    assert isinstance(failed, inp.TranscriptionFailed) and failed.message.startswith(words)
    assert len(failed.message) <= jobs.LONGEST_REASON + 20


@pytest.mark.parametrize(
    ("answer", "probability"), [(0.25, 0.25), (1.5, None), ("yes", None), (EngineError("t", "crashed", "gone"), None)]
)
def test_a_turn_detector_that_cannot_tell_says_none(answer: Any, probability: float | None) -> None:
    told = Told()
    run_virtual(jobs.predict(Stranger(answer), np.zeros(16, np.int16), "job", told))
    assert told.inputs == [inp.TurnPredicted(at=0.0, job="job", probability=probability)]


def test_without_a_turn_detector_nothing_is_predicted() -> None:
    told = Told()
    run_virtual(jobs.predict(None, np.zeros(16, np.int16), "job", told))
    assert told.inputs == [inp.TurnPredicted(at=0.0, job="job", probability=None)]


def test_an_answer_is_told_as_it_comes_and_the_stream_closed() -> None:
    usage = Usage(output_text_tokens=2)
    inputs, closed = think(
        LlmText("Hi "), LlmText(""), LlmCall(0, call_id="c", name="f"), LlmCall(0, "{}"), LlmDone("length", usage)
    )
    assert inputs == [
        inp.TextGenerated(at=0.0, job="job", delta="Hi "),
        inp.CallGenerated(at=0.0, job="job", index=0, call_id="c", name="f"),
        inp.CallGenerated(at=0.0, job="job", index=0, delta="{}"),
        inp.GenerationDone(at=0.0, job="job", reason="length", usage=usage),
    ]
    assert closed == 1


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((), "stranger: the answer ended before it was complete"),
        ((LlmText("Hi"),), "stranger: the answer ended before it was complete"),
        ((LlmText(cast(str, None)),), "stranger: expected a chunk of an answer"),
        (({"delta": "x" * 10_000},), "stranger: expected a chunk of an answer"),
        ((EngineError("vllm", "rejected", "bad key"),), "vllm: bad key"),
        ((OSError("broken pipe"),), "llm failed: broken pipe"),
    ],
)
def test_whatever_the_llm_does_ends_in_one_failure(answers: tuple[Any, ...], words: str) -> None:
    inputs, closed = think(*answers)
    assert isinstance(inputs[-1], inp.GenerationFailed) and inputs[-1].message.startswith(words)
    assert len([i for i in inputs if isinstance(i, inp.GenerationFailed | inp.GenerationDone)]) == closed == 1


def test_audio_is_there_before_it_is_told() -> None:
    word = inp.Word("hi", 300)
    inputs, spoken = speak(TtsChunk(np.ones(300, np.int16), (word,)), TtsChunk(np.ones(200, np.int16)))
    assert inputs == [
        inp.Synthesized(at=0.0, job="job", samples=300, words=(word,)),
        inp.Synthesized(at=0.0, job="job", samples=200),
        inp.SynthesisDone(at=0.0, job="job"),
    ]
    assert len(spoken.read("job", 0, 500)) == 500


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((TtsChunk(cast(PCM, np.ones(8, np.float32))),), "stranger: expected mono 16-bit samples, got ("),
        ((TtsChunk(cast(PCM, np.ones((8, 2), np.int16))),), "stranger: expected mono 16-bit samples, got ("),
        ((TtsChunk(cast(PCM, b"1234")),), "stranger: expected mono 16-bit samples, got bytes"),
        ((None,), "tts failed: "),
        ((EngineError("piper", "crashed", "the process died"),), "piper: the process died"),
    ],
)
def test_whatever_the_tts_does_ends_in_one_failure(answers: tuple[Any, ...], words: str) -> None:
    inputs, _ = speak(*answers)
    assert [type(i) for i in inputs] == [inp.SynthesisFailed] and inputs[0].message.startswith(words)


def test_a_cancelled_job_answers_nothing_and_closes_its_stream() -> None:
    told, llm = Told(), Stranger(LlmText("never"))

    async def hanging(request: LlmRequest) -> AsyncIterator[LlmChunk]:
        try:
            await asyncio.get_running_loop().create_future()
            yield LlmText("never")
        finally:
            llm.closed += 1

    llm.generate = hanging  # type: ignore[method-assign]

    async def main() -> None:
        ended: list[int] = []
        owner = jobs.TaskOwner(lambda: ended.append(len(owner)))
        owner.start("job", jobs.generate(llm, LlmRequest([]), "job", told))
        owner.start("other", jobs.transcribe(Stranger("hi"), SttRequest(np.zeros(1, np.int16)), "other", told))
        assert len(owner) == 2
        await asyncio.sleep(1)
        owner.cancel("job")
        owner.cancel("unknown")
        await owner.join(1.0)
        await owner.join(1.0)
        assert len(owner) == 0 and ended == [1, 0]

    run_virtual(main())
    assert llm.closed == 1 and [type(i) for i in told.inputs] == [inp.Transcribed]


def test_a_job_that_ignores_being_cancelled_is_left_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> float:
        release = asyncio.Event()

        async def stubborn() -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        owner = jobs.TaskOwner()
        owner.start("stubborn", stubborn())
        await asyncio.sleep(0)
        owner.cancel_all()
        before = asyncio.get_running_loop().time()
        await owner.join(2.0)
        took = asyncio.get_running_loop().time() - before
        release.set()
        await owner.join(2.0)
        return took

    assert run_virtual(main()) == pytest.approx(2.0)
    assert "stubborn did not end within 2 s" in caplog.text


def test_a_defect_of_ours_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def defect() -> None:
        raise AssertionError("oops")

    async def main() -> None:
        owner = jobs.TaskOwner()
        owner.start("job", defect())
        await owner.join(1.0)

    run_virtual(main())
    assert "job ended by a defect" in caplog.text
