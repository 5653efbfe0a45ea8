from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.inputs import Word
from antiphon.core.items import Message, Text
from antiphon.engines.chain import LlmChain, Patience, SttChain, TtsChain
from antiphon.engines.ports import (
    EngineError,
    Llm,
    LlmCall,
    LlmChunk,
    LlmDone,
    LlmRequest,
    LlmText,
    SttRequest,
    TtsChunk,
    TtsRequest,
)
from antiphon.engines.scripted import (
    Clause,
    LlmScript,
    Rule,
    ScriptedLlm,
    ScriptedStt,
    ScriptedTts,
    SttScript,
    TtsScript,
    Utterance,
)
from antiphon.runtime.clock import run_virtual

AUDIO = np.zeros(16_000, np.int16)
ASKED = LlmRequest((Message("u", "user", (Text("hi"),)),))
QUICK = Patience(first=2.0, between=1.0, retries=2, backoff=0.2, rest=15.0)


def stt(name: str, *utterances: Utterance) -> ScriptedStt:
    return ScriptedStt(SttScript(utterances=utterances), name=name)


def llm(name: str, *rules: Rule, **fields: Any) -> ScriptedLlm:
    return ScriptedLlm(LlmScript(rules=rules, default=f"{name} answers", **fields), name=name)


def tts(name: str, *rules: Clause, **fields: Any) -> ScriptedTts:
    return ScriptedTts(TtsScript(rules=rules, **fields), name=name)


async def text_of(chain: LlmChain) -> str:
    return "".join([c.delta async for c in chain.generate(ASKED) if isinstance(c, LlmText)])


async def samples_of(chain: TtsChain, text: str = "hello") -> int:
    return sum([c.audio.size async for c in chain.synthesize(TtsRequest(text))])


class Model:
    """An LLM made of a function, as third parties would write one."""

    def __init__(self, answer: Callable[[], object], name: str = "model") -> None:
        self.name = name
        self._answer = answer
        self.closed = 0
        self.warm = 0

    async def warm_up(self) -> None:
        self.warm += 1

    async def close(self) -> None:
        self.closed += 1

    def generate(self, request: LlmRequest) -> AsyncIterator[LlmChunk]:
        return cast(AsyncIterator[LlmChunk], self._answer())


class Voice(Model):
    """A TTS made of a function."""

    voices: Sequence[str] = ("one",)

    def synthesize(self, request: TtsRequest) -> AsyncIterator[TtsChunk]:
        return cast(AsyncIterator[TtsChunk], self._answer())


def streaming(*chunks: object, finished: list[str] | None = None, hang: bool = False) -> Callable[[], object]:
    async def stream() -> AsyncIterator[object]:
        try:
            for chunk in chunks:
                yield chunk
            if hang:
                await asyncio.get_running_loop().create_future()
        finally:
            if finished is not None:
                finished.append("closed")

    return stream


# --- whom it asks, and when ------------------------------------------------------------------------------------------


def test_a_failure_that_may_pass_is_retried_with_growing_back_off() -> None:
    engine = stt("a", Utterance(fail="unavailable"), Utterance(fail="crashed"), Utterance(text=" third "))

    async def main() -> tuple[str, float]:
        return await SttChain([engine], QUICK).transcribe(SttRequest(AUDIO)), asyncio.get_running_loop().time()

    text, at = run_virtual(main())
    assert text == "third"
    assert at == pytest.approx(0.6)


def test_after_the_retries_the_next_engine_is_asked() -> None:
    first, second = stt("a", *[Utterance(fail="unavailable")] * 9), stt("b", Utterance(text="from b"))
    assert run_virtual(SttChain([first, second], QUICK).transcribe(SttRequest(AUDIO))) == "from b"
    assert len(first.requests) == 3


@pytest.mark.parametrize("fault", ["rejected", "bad_output", "rubbish"])
def test_a_failure_that_will_not_pass_goes_to_the_next_at_once(fault: Any) -> None:
    first, second = stt("a", *[Utterance(fail=fault)] * 9), stt("b", Utterance(text="from b"))
    assert run_virtual(SttChain([first, second], QUICK).transcribe(SttRequest(AUDIO))) == "from b"
    assert len(first.requests) == 1


def test_a_time_out_is_not_retried_while_another_engine_is_left() -> None:
    first, second = stt("a", Utterance(fail="hang")), stt("b", Utterance(text="from b"))

    async def main() -> tuple[str, float]:
        text = await SttChain([first, second], QUICK).transcribe(SttRequest(AUDIO))
        return text, asyncio.get_running_loop().time()

    assert run_virtual(main()) == ("from b", 2.0)


def test_long_audio_is_given_more_time() -> None:
    engine = stt("a", Utterance(text="slow", delay=6.0))
    patience = Patience(first=2.0, per_second=0.5)
    long = np.zeros(10 * 16_000, np.int16)
    assert run_virtual(SttChain([engine], patience).transcribe(SttRequest(long))) == "slow"


def test_partials_are_tried_once() -> None:
    engine = ScriptedStt(SttScript(utterances=(Utterance(text="x", delay=60.0),)), name="a")
    other = stt("b", Utterance(text="from b"))
    with pytest.raises(EngineError, match=r"^a: no transcript for 2 s$"):
        run_virtual(SttChain([engine, other], QUICK).transcribe(SttRequest(AUDIO, partial=True)))
    assert not other.requests


def test_all_failed_lists_each_engine_and_why() -> None:
    chain = SttChain([stt("a", Utterance(fail="rejected")), stt("b", Utterance(fail="rubbish"))], QUICK)
    with pytest.raises(EngineError) as caught:
        run_virtual(chain.transcribe(SttRequest(AUDIO)))
    assert str(caught.value) == (
        "a > b: no engine answered: a: scripted failure (rejected); b: expected a transcript, got nothing"
    )
    assert caught.value.kind == "bad_output"


def test_one_engine_alone_tells_its_own_error() -> None:
    with pytest.raises(EngineError, match=r"^a: scripted failure \(rejected\)$"):
        run_virtual(SttChain([stt("a", Utterance(fail="rejected"))], QUICK).transcribe(SttRequest(AUDIO)))


def test_an_unreachable_engine_rests_and_is_asked_again_later() -> None:
    first = llm("a", Rule(fail="unavailable", times=3))
    second = llm("b")
    chain = LlmChain([first, second], QUICK)

    async def main() -> list[str]:
        said = [await text_of(chain), await text_of(chain)]
        await asyncio.sleep(20)
        return [*said, await text_of(chain)]

    assert run_virtual(main()) == ["b answers", "b answers", "a answers"]
    assert len(first.requests) == 4


def test_a_resting_engine_is_still_asked_when_the_others_fail() -> None:
    chain = LlmChain([llm("a", Rule(fail="unavailable", times=3)), llm("b", Rule(fail="rejected", call=2))], QUICK)

    async def main() -> list[str]:
        return [await text_of(chain), await text_of(chain)]

    assert run_virtual(main()) == ["b answers", "a answers"]


def test_each_engine_may_have_its_own_patience() -> None:
    patience = [Patience(first=1.0, retries=0), Patience(first=5.0, retries=0)]
    chain = LlmChain([llm("a", delay=2.0), llm("b", delay=4.0)], patience)

    async def main() -> tuple[str, float]:
        return await text_of(chain), asyncio.get_running_loop().time()

    assert run_virtual(main()) == ("b answers", 5.0)


def test_a_chain_needs_engines() -> None:
    with pytest.raises(ValueError, match="at least one engine"):
        LlmChain([])


# --- streams ---------------------------------------------------------------------------------------------------------


def test_an_answer_that_broke_before_its_first_word_is_begun_anew() -> None:
    chain = LlmChain([llm("a", Rule(fail="rejected", text="never heard")), llm("b")], QUICK)
    assert run_virtual(text_of(chain)) == "b answers"


@pytest.mark.parametrize(
    ("fault", "why", "kind"),
    [
        ("crashed", "scripted failure (crashed)", "crashed"),
        ("hang", "no words for 1 s", "timeout"),
        ("truncated", "the answer broke off", "bad_output"),
        ("rubbish", "expected text, a tool call or the end, got nothing", "bad_output"),
    ],
)
def test_after_half_a_sentence_the_failure_is_the_callers(fault: Any, why: str, kind: str) -> None:
    other = llm("b")
    chain = LlmChain([llm("a", Rule(text="half a sentence", fail=fault, after=2)), other], QUICK)
    said: list[LlmChunk] = []

    async def main() -> None:
        async for chunk in chain.generate(ASKED):
            said.append(chunk)

    with pytest.raises(EngineError) as caught:
        run_virtual(main())
    assert said == [LlmText("half "), LlmText("a ")]
    assert str(caught.value) == f"a: {why} (after a part of the answer)"
    assert caught.value.kind == kind
    assert not other.requests


def test_blanks_are_no_beginning_and_do_not_stop_the_clock() -> None:
    async def blanks() -> AsyncIterator[LlmChunk]:
        for _ in range(10):
            await asyncio.sleep(0.5)
            yield LlmText("\n")
        yield LlmText("too late")

    chain = LlmChain([Model(blanks), llm("b")], QUICK)
    assert run_virtual(text_of(chain)) == "b answers"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (streaming(LlmText(" "), LlmDone()), "the answer is empty"),
        (streaming(), "the answer is empty"),
        (streaming(LlmCall(0, delta="{}")), "tool call 0 began without its name and id"),
        (streaming(LlmText(cast(str, b"x"))), "expected text, a tool call or the end, got bytes"),
        (streaming("text"), "expected text, a tool call or the end, got str"),
        (lambda: ["not", "async"], "expected an async iterator, got list"),
        (lambda: 1 // 0, "raised ZeroDivisionError: integer division or modulo by zero"),
    ],
)
def test_rubbish_before_the_first_word_goes_to_the_next(answer: Callable[[], object], why: str) -> None:
    rubbish = Model(answer)
    assert run_virtual(text_of(LlmChain([rubbish, llm("b")], QUICK))) == "b answers"
    with pytest.raises(EngineError) as caught:
        run_virtual(text_of(LlmChain([rubbish], QUICK)))
    assert str(caught.value) == f"model: {why}"


def test_tool_calls_are_passed_on() -> None:
    calls = (LlmCall(0, "", "c1", "look"), LlmCall(0, "{}"), LlmCall(1, "{}", "c2", "time"), LlmDone())

    async def main() -> list[LlmChunk]:
        return [c async for c in LlmChain([Model(streaming(*calls))]).generate(ASKED)]

    assert tuple(run_virtual(main())) == calls


def test_an_engine_that_refuses_at_once() -> None:
    def refuse() -> object:
        raise EngineError("model", "rejected", "no")

    assert run_virtual(text_of(LlmChain([Model(refuse), llm("b")], QUICK))) == "b answers"


def test_a_filtered_answer_may_be_empty() -> None:
    async def main() -> list[LlmChunk]:
        return [c async for c in LlmChain([Model(streaming(LlmDone("content_filter")))]).generate(ASKED)]

    assert run_virtual(main()) == [LlmDone("content_filter")]


def test_an_engines_own_exceptions_and_time_outs_are_engine_errors() -> None:
    async def late() -> AsyncIterator[LlmChunk]:
        raise TimeoutError
        yield LlmDone()

    async def wrong() -> AsyncIterator[LlmChunk]:
        raise KeyError("x")
        yield LlmDone()

    for answer, kind in ((late, "timeout"), (wrong, "crashed")):
        with pytest.raises(EngineError) as caught:
            run_virtual(text_of(LlmChain([Model(answer)], QUICK)))
        assert caught.value.kind == kind


def test_closing_and_cancelling_reach_the_engine() -> None:
    finished: list[str] = []
    chain = LlmChain([Model(streaming(LlmText("one"), LlmText("two"), finished=finished, hang=True))])

    async def close() -> None:
        stream = chain.generate(ASKED)
        assert await anext(stream) == LlmText("one")
        await stream.aclose()  # type: ignore[attr-defined]
        assert finished == ["closed"]

    async def cancel() -> None:
        task = asyncio.create_task(text_of(chain))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(close())
    run_virtual(cancel())
    assert finished == ["closed"] * 2


def test_what_follows_the_end_is_not_waited_for() -> None:
    finished: list[str] = []
    answer = streaming(LlmText("all"), LlmDone(), LlmText("more"), finished=finished, hang=True)
    assert run_virtual(text_of(LlmChain([Model(answer)]))) == "all"
    assert finished == ["closed"]


def test_cancelling_in_the_back_off_asks_nobody_again() -> None:
    engine = llm("a", Rule(fail="unavailable"))

    async def main() -> None:
        task = asyncio.create_task(text_of(LlmChain([engine], QUICK)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(10)

    run_virtual(main())
    assert len(engine.requests) == 1


faults = st.sampled_from(
    ["timeout", "unavailable", "crashed", "rejected", "bad_output", "rubbish", "truncated", "hang"]
)
plans = st.lists(st.lists(st.tuples(faults, st.integers(0, 4)), max_size=4), min_size=1, max_size=3)


@given(plans)
def test_an_answer_is_one_engines_from_its_first_word_on(plan: list[list[tuple[Any, int]]]) -> None:
    """Whatever fails, and when: no two engines' words are mixed, and a failure after the first word ends the answer."""
    engines = [
        llm(name, *[Rule(text=f"{name}1 {name}2 {name}3", fail=fault, after=after, times=1) for fault, after in rules])
        for name, rules in zip("abc", plan, strict=False)
    ]
    said: list[str] = []

    async def main() -> bool:
        try:
            async for chunk in LlmChain(engines, QUICK).generate(ASKED):
                if isinstance(chunk, LlmText):
                    said.append(chunk.delta)
        except EngineError:
            return False
        return True

    whole = run_virtual(main())
    words = "".join(said).split()
    speaker = words[0][0] if words else ""
    assert words in ([f"{speaker}{n}" for n in (1, 2, 3)][: len(words)], [speaker, "answers"])
    assert not whole or words[-1] in ("answers", f"{speaker}3")
    assert all(len(engine.requests) <= 1 + QUICK.retries for engine in engines)


# --- speech ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["crashed", "hang", "rubbish", "truncated"])
def test_speech_that_does_not_begin_falls_back(fault: Any) -> None:
    assert run_virtual(samples_of(TtsChain([tts("a", Clause(fail=fault)), tts("b")], QUICK))) == 8000


def test_speech_that_broke_off_is_an_error() -> None:
    chain = TtsChain([tts("a", Clause(fail="crashed", after=0.1)), tts("b")], QUICK)
    with pytest.raises(EngineError, match=r"^a: scripted failure \(crashed\) \(after a part of the answer\)$"):
        run_virtual(samples_of(chain))


def test_a_text_without_sound_may_be_silent() -> None:
    assert run_virtual(samples_of(TtsChain([tts("a")]), " ")) == 0
    assert run_virtual(samples_of(TtsChain([tts("a", Clause(fail="truncated"))]), "…")) == 0
    with pytest.raises(EngineError, match="the text became no audio"):
        run_virtual(samples_of(TtsChain([tts("a", Clause(fail="truncated"))]), "word"))


@pytest.mark.parametrize(
    ("audio", "what"),
    [
        (np.full(5, np.nan, np.float32), "float32 of shape (5,)"),
        (np.zeros((2, 5), np.int16), "int16 of shape (2, 5)"),
        (b"\0\0", "bytes"),
        (None, "nothing"),
    ],
)
def test_audio_that_is_not_mono_int16_is_refused(audio: object, what: str) -> None:
    voice = Voice(streaming(TtsChunk(cast(Any, audio))))
    with pytest.raises(EngineError) as caught:
        run_virtual(samples_of(TtsChain([voice])))
    assert str(caught.value) == f"model: expected mono int16 audio, got {what}"


def test_word_ends_are_put_in_order_and_within_the_audio() -> None:
    sound = np.zeros(100, np.int16)
    words = (Word("a", 50), Word("b", 40), Word("c", 900))
    voice = Voice(streaming(TtsChunk(sound, words), TtsChunk(sound[:0]), TtsChunk(sound[:0], (Word("d", 120),))))

    async def main() -> list[tuple[Word, ...]]:
        return [c.words async for c in TtsChain([voice]).synthesize(TtsRequest("a b c d"))]

    assert run_virtual(main()) == [(Word("a", 50), Word("b", 50), Word("c", 100)), (Word("d", 100),)]


def test_voices_are_those_of_all() -> None:
    chain = TtsChain([tts("a", voices={"x": 300}), tts("b", voices={"y": 300})])
    assert chain.voices == ("tone", "x", "y")
    assert chain.name == "a > b"
    assert [e.name for e in chain.engines] == ["a", "b"]


# --- warming up and closing ------------------------------------------------------------------------------------------


class Cold(Model):
    async def warm_up(self) -> None:
        raise EngineError(self.name, "unavailable", "no model file")

    async def close(self) -> None:
        self.closed += 1
        raise OSError("stuck")


def test_it_is_warm_when_one_engine_is() -> None:
    good, bad = Model(streaming(), "good"), Cold(streaming(), "bad")
    chain = LlmChain([bad, good])
    assert chain.readiness() == {"bad": "cold", "good": "cold"}
    run_virtual(chain.warm_up())
    run_virtual(chain.warm_up())
    assert chain.readiness() == {"bad": "failed: bad: no model file", "good": "warm"}
    assert good.warm == 1
    with pytest.raises(EngineError, match="no model file"):
        run_virtual(LlmChain([bad]).warm_up())


def test_an_engine_that_answers_is_warm_whatever_its_warm_up_said() -> None:
    chain = LlmChain([Cold(streaming(LlmText("well"), LlmDone()), "late")])
    with pytest.raises(EngineError):
        run_virtual(chain.warm_up())
    assert run_virtual(text_of(chain)) == "well"
    assert chain.readiness() == {"late": "warm"}


def test_warming_can_be_seen_and_cancelled() -> None:
    class Slow(Model):
        async def warm_up(self) -> None:
            await asyncio.sleep(60)

    chain = LlmChain([cast(Llm, Slow(streaming(), "slow"))])

    async def main() -> dict[str, str]:
        task = asyncio.create_task(chain.warm_up())
        await asyncio.sleep(1)
        seen = dict(chain.readiness())
        task.cancel()
        await asyncio.wait([task])
        return seen

    assert run_virtual(main()) == {"slow": "warming"}
    assert chain.readiness() == {"slow": "cold"}


def test_all_are_closed_even_when_one_cannot() -> None:
    good, bad = Model(streaming(), "good"), Cold(streaming(), "bad")
    with pytest.raises(ExceptionGroup, match="engines did not close"):
        run_virtual(LlmChain([bad, good]).close())
    assert (good.closed, bad.closed) == (1, 1)
