"""Stories of whole sessions, one rule each, where the random walks seldom go."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from call import Call, S, interrupting, playing_out, speaking, thinking, waiting_for_words

from antiphon.core import effects as fx
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config, Turn
from antiphon.core.items import Audio, AudioRef, FunctionCall, FunctionCallOutput, McpCall, Message, Text
from antiphon.core.response import Response, cancel, handle, resume


def texts(c: Call, role: str) -> list[str]:
    return [i.text for i in c.watch.state.conversation.items if isinstance(i, Message) and i.role == role]


def codes(c: Call) -> list[str]:
    return [e.code for e in c.told(ev.Rejected)]


# --- the user goes on -------------------------------------------------------------------------------------------------


def test_going_on_before_the_first_sound_makes_one_message_and_one_answer() -> None:
    c = Call(playout="server")
    thinking(c)
    c.do(inp.VoiceOn, 3.0, sample=3 * S)
    c.hear_until(3.45)
    assert [r.response.status for r in c.told(ev.ResponseDone)] == ["cancelled"]
    c.do(inp.VoiceOff, 4.0, sample=4 * S)
    c.hear_until(4.2)
    c.do(inp.Transcribed, 4.3, job="stt", text="In Paris, I mean.")
    assert c.watch.state.trial is not None, "the answer to both parts is begun in the pause"
    c.hear_until(4.5)
    assert texts(c, "user") == ["What is the weather? In Paris, I mean."]
    assert len(c.told(ev.ItemChanged)) == 1
    assert c.watch.state.active is not None


def test_going_on_while_the_words_are_awaited_makes_one_message() -> None:
    c = Call(playout="server")
    waiting_for_words(c)
    first = c.jobs[fx.Transcribe]
    c.speak(3.0, 4.0)
    c.hear_until(4.5)
    c.do(inp.Transcribed, 4.6, job=first, text="Tell me")
    c.do(inp.Transcribed, 4.7, job="stt", text="a story.")
    assert texts(c, "user") == ["Tell me a story."]
    assert len(c.told(ev.ResponseStarted)) == 1


def test_without_merging_there_are_two_messages() -> None:
    c = Call(playout="server", turn=Turn(merge=False))
    thinking(c)
    c.speak(3.0, 4.0)
    c.hear_until(4.5)
    c.do(inp.Transcribed, 4.6, job="stt", text="In Paris.")
    assert texts(c, "user") == ["What is the weather?", "In Paris."]


def test_a_long_piece_is_kept_at_a_pause() -> None:
    c = Call(playout="server")
    c.speak(1.0, 15.0)
    c.hear_until(15.2)
    kept = c.jobs[fx.Transcribe]
    effects = c.do(inp.VoiceOn, 15.4, sample=int(15.4 * S))
    assert fx.Cancel(kept) not in effects
    c.do(inp.Transcribed, 15.5, job=kept, text="Part one")
    c.do(inp.VoiceOff, 17.0, sample=17 * S)
    c.hear_until(17.6)
    c.do(inp.Transcribed, 17.7, job="stt", text="and part two.")
    assert texts(c, "user") == ["Part one and part two."]


def test_endless_speech_is_transcribed_in_pieces_and_its_audio_released() -> None:
    c = Call(playout="server")
    c.do(inp.VoiceOn, 0.0, sample=0)
    assert c.watch.state.keep_from == 0
    c.hear_until(31.0)
    piece = c.jobs[fx.Transcribe]
    c.do(inp.Transcribed, 31.5, job=piece, text="On and on")
    assert c.watch.state.utterance is not None
    assert c.watch.state.utterance.piece_from == 31 * S


# --- over the agent's voice -------------------------------------------------------------------------------------------


def test_a_backchannel_by_caption_brings_the_voice_back_at_once() -> None:
    c = Call(playout="server")
    interrupting(c)
    c.hear_until(3.35)
    effects = c.do(inp.Transcribed, 3.4, job="stt", text="uh-huh", final=False)
    assert fx.Resume() in effects
    c.hear_until(3.6)
    assert c.told(ev.Interrupted) == [], "confirmed by duration, were it not only 'uh-huh'"
    c.do(inp.VoiceOff, 3.7, sample=int(3.7 * S))
    c.hear_until(3.9)
    c.do(inp.Transcribed, 4.0, job="stt", text="Uh-huh.")
    c.hear_until(4.2)
    assert [(d.reason, d.text) for d in c.told(ev.TurnDropped)] == [("backchannel", "Uh-huh.")]
    assert c.told(ev.PartialTranscript)[0].text == "uh-huh"


def test_a_caption_without_words_decides_nothing() -> None:
    c = Call(playout="server")
    interrupting(c)
    c.hear_until(3.35)
    c.do(inp.TranscriptionFailed, 3.36, job="stt", message="busy")
    assert c.told(ev.Interrupted) == c.told(ev.PartialTranscript) == []


def test_a_breath_is_no_pause() -> None:
    c = Call(playout="server")
    c.speak(1.0, 2.0)
    c.speak(2.1, 3.0)
    c.hear_until(3.5)
    assert len(c.told(ev.SpeechStarted)) == len(c.told(ev.SpeechStopped)) == 1


def test_a_word_by_caption_stops_the_voice() -> None:
    c = Call(playout="server")
    interrupting(c)
    c.hear_until(3.35)
    c.do(inp.Transcribed, 3.36, job="stt", text="stop", final=False)
    assert len(c.told(ev.Interrupted)) == 1


def test_words_known_only_after_the_commit_still_interrupt() -> None:
    c = Call(playout="server")
    interrupting(c)
    c.do(inp.VoiceOff, 3.3, sample=int(3.3 * S))
    c.hear_until(3.8)
    assert c.watch.state.pending and not c.told(ev.Interrupted)
    c.do(inp.Transcribed, 3.9, job="stt", text="Stop!", heard=24_000)
    assert len(c.told(ev.Interrupted)) == 1
    assert texts(c, "user")[-1] == "Stop!"


def test_a_cough_is_one_false_interruption() -> None:
    c = Call(playout="server")
    interrupting(c)
    c.do(inp.VoiceOff, 3.3, sample=int(3.3 * S))
    c.hear_until(3.75)
    assert c.watch.state.playout.mode == "playing"
    c.hear_until(3.8)
    c.do(inp.Transcribed, 3.9, job="stt", text="")
    assert len(c.told(ev.FalseInterruption)) == 1
    assert c.told(ev.TurnDropped)[0].reason == "noise"
    assert len(c.told(ev.ResponseStarted)) == 1


def test_a_sound_that_goes_on_after_a_pause_lowers_the_voice_again() -> None:
    c = Call(playout="server")
    interrupting(c)
    c.do(inp.VoiceOff, 3.25, sample=int(3.25 * S))
    c.hear_until(3.66)
    effects = c.do(inp.VoiceOn, 3.7, sample=int(3.7 * S))
    assert fx.Duck() in effects


def test_pausing_instead_of_ducking() -> None:
    c = Call(playout="server", turn=Turn(barge_in="pause"))
    playing_out(c)
    assert fx.Pause() in c.do(inp.VoiceOn, 3.0, sample=3 * S)
    assert fx.Resume() in c.do(inp.ClearAudio, 3.1, end=3 * S)


def test_speech_over_an_agent_that_may_not_be_interrupted_waits_for_its_end() -> None:
    c = Call(playout="server", turn=Turn(interrupt_response=False))
    playing_out(c)
    c.speak(3.0, 4.0)
    c.hear_until(4.2)
    c.do(inp.Transcribed, 4.25, job="stt", text="And tomorrow?")
    c.hear_until(4.5)
    assert len(c.told(ev.ResponseStarted)) == 1
    c.do(inp.Drained, 6.0, heard=200_000)
    assert len(c.told(ev.ResponseStarted)) == 2


def test_speech_over_an_agent_that_does_not_listen_is_dropped_and_told() -> None:
    c = Call(playout="server", turn=Turn(interrupt_response=False, over_agent="drop"))
    playing_out(c)
    c.speak(3.0, 4.0)
    c.hear_until(4.2)
    effects = c.do(inp.AudioReached, 4.5, sample=int(4.5 * S))
    assert c.told(ev.TurnDropped)[0].reason == "over_agent"
    assert fx.Cancel(c.jobs[fx.Transcribe]) in effects
    c.speak(4.6, 5.0)
    c.do(inp.AudioReached, 5.5, sample=int(5.5 * S))
    assert len(c.told(ev.TurnDropped)) == 2


def test_an_interrupter_may_pause_for_breath() -> None:
    c = Call(playout="server")
    interrupting(c)
    c.hear_until(3.5)
    c.do(inp.VoiceOff, 4.0, sample=4 * S)
    c.do(inp.VoiceOn, 4.3, sample=int(4.3 * S))
    assert len(c.told(ev.Interrupted)) == 1
    assert c.watch.state.turn.phase == "speech"


def test_deaf_for_good_is_told_and_may_be_said() -> None:
    c = Call(playout="server", not_understood="Sorry?")
    waiting_for_words(c)
    c.do(inp.TranscriptionFailed, 3.0, job="stt", message="no ear")
    assert c.told(ev.Failure)[0].stage == "stt"
    assert any(isinstance(e, fx.Synthesize) and e.text == "Sorry?" for step in c.watch.effects for e in step)


# --- playout and truncation -------------------------------------------------------------------------------------------


def test_truncate_keeps_the_words_heard_and_clamps() -> None:
    c = Call(playout="client")
    playing_out(c)
    item_id = c.told(ev.OutputItemAdded)[0].item.id
    c.do(inp.TruncateItem, 5.0, item_id=item_id, content_index=0, audio_end_ms=90_000)
    assert texts(c, "assistant") == ["It rains. Take a coat."]
    c.do(inp.TruncateItem, 5.1, item_id=item_id, content_index=0, audio_end_ms=1500)
    assert [t.audio_end_ms for t in c.told(ev.ItemTruncated)] == [4200, 1500]
    assert texts(c, "assistant") == ["It"]
    for fields in ({"content_index": 1, "audio_end_ms": 5}, {"content_index": 0, "audio_end_ms": -5}):
        c.do(inp.TruncateItem, 5.2, item_id=item_id, **fields)
    user = c.watch.state.conversation.items[0].id
    c.do(inp.TruncateItem, 5.3, item_id=user, content_index=0, audio_end_ms=5)
    assert codes(c) == ["invalid_value", "integer_below_min_value", "invalid_value"]


def test_a_clients_word_on_what_was_heard_outlives_the_estimate() -> None:
    c = Call(playout="client")
    playing_out(c)
    c.do(inp.VoiceOn, 4.0, sample=4 * S)
    c.hear_until(4.25)
    item_id = c.told(ev.OutputItemAdded)[0].item.id
    c.do(inp.TruncateItem, 4.3, item_id=item_id, content_index=0, audio_end_ms=1000)
    c.hear_until(4.6)
    assert len(c.told(ev.Interrupted)) == 1
    assert texts(c, "assistant") == ["It"]


def test_truncating_what_is_still_made_ends_it() -> None:
    c = Call(playout="client")
    speaking(c)
    item_id = c.told(ev.OutputItemAdded)[0].item.id
    c.do(inp.TruncateItem, 2.8, item_id=item_id, content_index=0, audio_end_ms=0)
    assert [d.response.status for d in c.told(ev.ResponseDone)] == ["cancelled"]
    assert texts(c, "assistant") == [""]


def test_a_text_answer_has_no_audio_to_truncate() -> None:
    c = Call(playout="client", modality="text")
    c.do(inp.CreateResponse, 1.0)
    c.do(inp.TextGenerated, 1.1, job="llm", delta="Written.")
    item_id = c.told(ev.OutputItemAdded)[0].item.id
    c.do(inp.TruncateItem, 1.2, item_id=item_id, content_index=0, audio_end_ms=0)
    assert codes(c) == ["invalid_value"]


def test_a_voice_once_heard_is_locked() -> None:
    c = Call(playout="client", lock_voice=True, voice="a")
    playing_out(c)
    c.do(inp.Configure, 3.0, config=Config(lock_voice=True, voice="b"))
    assert codes(c) == ["cannot_update_voice"]


def test_clauses_wait_while_enough_is_made_ahead() -> None:
    c = Call(playout="client", ahead=1.0)
    thinking(c)
    c.do(inp.TextGenerated, 2.8, job="llm", delta="One sentence. Two sentences. ")
    first = c.jobs[fx.Synthesize]
    c.do(inp.Synthesized, 2.9, job=first, samples=96_000)
    c.do(inp.SynthesisDone, 2.9, job=first)
    assert c.jobs[fx.Synthesize] == first
    due = c.watch.state.deadline
    assert due == pytest.approx(5.9)
    c.do(inp.Tick, due)
    assert c.jobs[fx.Synthesize] != first


def test_a_finished_answer_still_playing_ends_its_playout_once() -> None:
    c = Call(playout="server")
    playing_out(c)
    c.do(inp.Drained, 5.0, heard=200_000)
    c.do(inp.Drained, 5.1, heard=200_000)
    assert len(c.told(ev.PlayoutStopped)) == 1


def test_an_answer_that_ends_after_its_audio_drained() -> None:
    c = Call(playout="server")
    speaking(c)
    c.do(inp.GenerationDone, 3.9, job="llm")
    c.do(inp.Drained, 4.0, heard=4800)
    c.do(inp.SynthesisDone, 4.1, job="tts", heard=4800)
    c.do(inp.SynthesisDone, 4.2, job="tts", heard=4800)
    assert len(c.told(ev.PlayoutStopped)) == 1


# --- engines out of season --------------------------------------------------------------------------------------------


def test_blank_first_tokens_open_nothing() -> None:
    c = Call(playout="client")
    thinking(c)
    c.do(inp.TextGenerated, 2.8, job="llm", delta="\n")
    assert c.told(ev.OutputItemAdded) == []


def test_call_pieces_after_the_next_call_began_are_ignored() -> None:
    c = Call(playout="client")
    thinking(c)
    for index, delta in ((0, "{}"), (1, "{}"), (0, "late"), (1, "")):
        c.do(inp.CallGenerated, 2.8, job="llm", index=index, name="client_tool", delta=delta)
    c.do(inp.GenerationDone, 2.9, job="llm")
    calls = [i for i in c.watch.state.conversation.items if isinstance(i, FunctionCall)]
    assert [x.arguments for x in calls] == ["{}", "{}"]


def test_no_audio_of_no_samples() -> None:
    c = Call(playout="client")
    speaking(c)
    before = len(c.told(ev.AudioDelta))
    c.do(inp.Synthesized, 2.9, job="tts", samples=0)
    assert len(c.told(ev.AudioDelta)) == before


def test_an_answer_out_of_band_runs_no_tool_and_leaves_no_trace() -> None:
    c = Call(playout="client")
    c.do(inp.CreateResponse, 1.0, out_of_band=True, context=(Message("x", "user", (Text("Hi"),)),))
    c.do(inp.CallGenerated, 1.1, job="llm", index=0, name="server_tool", delta="{}")
    effects = c.do(inp.GenerationDone, 1.2, job="llm")
    assert not any(isinstance(e, fx.RunTool) for e in effects)
    assert c.watch.state.conversation.items == ()


def test_a_message_deleted_while_it_is_made_is_still_closed() -> None:
    c = Call(playout="client")
    speaking(c)
    c.do(inp.DeleteItem, 2.8, item_id=c.told(ev.OutputItemAdded)[0].item.id)
    c.do(inp.CancelResponse, 2.9)
    assert len(c.told(ev.OutputItemDone)) == 1 and texts(c, "assistant") == []
    c.do(inp.CancelResponse, 3.0)
    assert codes(c) == ["response_cancel_not_active"]


def test_the_next_answer_may_be_asked_for_once_a_call_is_whole() -> None:
    c = Call(playout="client")
    thinking(c)
    for index in (0, 1):
        c.do(inp.CallGenerated, 2.8, job="llm", index=index, name="client_tool", delta="{}")
    c.do(inp.CreateResponse, 2.9)
    c.do(inp.GenerationDone, 3.0, job="llm")
    assert codes(c) == []
    assert len(c.told(ev.ResponseStarted)) == 2


def test_an_mcp_call_carries_its_own_result() -> None:
    for failed in (False, True):
        c = Call(playout="client")
        thinking(c)
        c.do(inp.CallGenerated, 2.8, job="llm", index=0, name="mcp_tool", delta="{}")
        c.do(inp.GenerationDone, 2.9, job="llm")
        c.do(inp.ToolDone, 3.0, call_id=c.call_id, output="42", failed=failed)
        call = next(i for i in c.watch.state.conversation.items if isinstance(i, McpCall))
        assert (call.output, call.error) == ((None, "42") if failed else ("42", None))


def test_answers_to_what_is_over_change_nothing() -> None:
    done = Response(id="r", config=Config(), job="j", asked_at=0.0, status="completed")
    late = inp.TextGenerated(at=1.0, job="j", delta="late")
    assert handle(done, late, str) == (done, ())
    assert cancel(done, "client_cancelled", None) == (done, ())
    assert resume(done, str, 1.0) == (done, ())


def test_results_in_reverse_order_have_one_follow_up() -> None:
    c = Call(playout="client")
    thinking(c)
    for index in (0, 1):
        c.do(inp.CallGenerated, 2.8, job="llm", index=index, name="server_tool", call_id=f"call_{index}", delta="{}")
    c.do(inp.GenerationDone, 2.9, job="llm")
    c.do(inp.ToolDone, 3.0, call_id="call_1", output="b")
    assert len(c.told(ev.ResponseStarted)) == 1
    c.do(inp.ToolDone, 3.1, call_id="call_0", output="a")
    assert len(c.told(ev.ResponseStarted)) == 2
    asked = next(e for e in c.watch.effects[-1] if isinstance(e, fx.Generate))
    pairs = [(i.call_id, i.output) for i in asked.history if isinstance(i, FunctionCallOutput)]
    assert pairs == [("call_0", "a"), ("call_1", "b")]


# --- clients ----------------------------------------------------------------------------------------------------------


def test_what_a_client_asked_for_outranks_what_a_turn_did() -> None:
    c = Call(playout="client")
    waiting_for_words(c)
    c.do(inp.CreateResponse, 2.7, metadata=(("mine", "1"),))
    c.do(inp.CreateResponse, 2.7)
    assert codes(c) == ["conversation_already_has_active_response"]
    c.do(inp.Transcribed, 2.8, job="stt", text="Hello?")
    assert [r.response.metadata for r in c.told(ev.ResponseStarted)] == [(("mine", "1"),)]


def test_an_answer_asked_for_but_not_begun_can_be_cancelled() -> None:
    c = Call(playout="client", turn=Turn(mode="manual"))
    c.do(inp.CommitAudio, 1.0, end=S)
    c.do(inp.CreateResponse, 1.0)
    c.do(inp.CancelResponse, 1.1)
    assert [(d.response.status, d.response.reason) for d in c.told(ev.ResponseDone)] == [
        ("cancelled", "client_cancelled")
    ]
    effects = c.do(inp.Transcribed, 1.2, job="stt", text="Never mind")
    assert not any(isinstance(e, fx.Generate) for e in effects)
    assert len(c.told(ev.ResponseStarted)) == 1 and codes(c) == []


def test_audio_in_an_item_is_transcribed_and_survives_its_deletion() -> None:
    c = Call(playout="client")
    c.do(inp.AddItem, 1.0, item=Message("mine", "user", (Audio(AudioRef("clip", 0, S)),)))
    c.do(inp.DeleteItem, 1.1, item_id="mine")
    c.do(inp.Transcribed, 1.2, job="stt", text="Too late")
    assert c.told(ev.TranscriptDone) == []
    c.do(inp.AddItem, 2.0, item=Message("again", "user", (Audio(AudioRef("clip", 0, S)),)))
    c.do(inp.Transcribed, 2.2, job="stt", text="In time")
    assert [t.text for t in c.told(ev.TranscriptDone)] == ["In time"]


def test_a_kept_turn_whose_words_could_not_be_had_says_so() -> None:
    c = Call(playout="client", turn=Turn(mode="manual"))
    c.do(inp.CommitAudio, 1.0, end=S)
    c.do(inp.TranscriptionFailed, 1.2, job="stt", message="deaf")
    assert [(f.item_id, f.message) for f in c.told(ev.TranscriptFailed)] == [(c.told(ev.Committed)[0].item_id, "deaf")]


def test_a_long_stretch_keeps_its_transcription_when_the_person_goes_on() -> None:
    c = Call(playout="client")
    c.speak(1.0, 14.0)
    asked = c.do(inp.AudioReached, 14.2, sample=int(14.2 * S))
    [first] = [e for e in asked if isinstance(e, fx.Transcribe)]
    assert fx.Cancel(first.job) not in c.do(inp.VoiceOn, 14.3, sample=int(14.3 * S))
    c.do(inp.VoiceOff, 15.0, sample=15 * S)
    c.hear_until(15.6)
    c.do(inp.Transcribed, 15.7, job=first.job, text="A long story")
    c.do(inp.Transcribed, 15.8, job="stt", text="and its end.")
    assert texts(c, "user") == ["A long story and its end."]


def test_speech_out_of_band_is_told_and_takes_no_floor() -> None:
    c = Call(playout="client")
    c.do(inp.CreateResponse, 1.0, out_of_band=True, context=())
    c.do(inp.TextGenerated, 1.1, job="llm", delta="Aside. ")
    c.do(inp.GenerationDone, 1.2, job="llm")
    c.do(inp.Synthesized, 1.3, job="tts", samples=4800)
    assert len(c.told(ev.AudioDelta)) == 1 and not c.watch.state.playout.audible


def test_an_id_is_given_once() -> None:
    c = Call(playout="client")
    for at in (1.0, 1.1):
        c.do(inp.AddItem, at, item=Message("mine", "user", (Text("Hi."),)))
    assert codes(c) == ["item_create_duplicate_id"]


def test_what_a_client_cut_is_not_given_back() -> None:
    c = Call(playout="client")
    playing_out(c)
    c.do(inp.Tick, 90.0)
    item = c.told(ev.OutputItemDone)[-1].item.id
    for ms in (100, 60_000):
        c.do(inp.TruncateItem, 91.0, item_id=item, content_index=0, audio_end_ms=ms)
    assert [t.audio_end_ms for t in c.told(ev.ItemTruncated)] == [100, 100]


def test_going_on_in_a_pause_takes_back_what_the_pause_asked_for() -> None:
    c = Call(playout="client", turn=Turn(mode="semantic"))
    c.speak(1.0, 2.0)
    asked = c.do(inp.AudioReached, 2.2, sample=int(2.2 * S))
    [guess] = [e.job for e in asked if isinstance(e, fx.PredictTurn)]
    [words] = [e.job for e in asked if isinstance(e, fx.Transcribe)]
    c.do(inp.Transcribed, 2.25, job=words, text="So I thought")
    effects = c.do(inp.VoiceOn, 2.3, sample=int(2.3 * S))
    assert fx.Cancel(guess) in effects and fx.Cancel(words) not in effects


def test_an_answer_may_not_be_in_another_voice_once_one_was_heard() -> None:
    c = Call(playout="client", lock_voice=True, voice="a")
    playing_out(c)
    for voice in ("b", "a"):
        c.do(inp.CreateResponse, 90.0, config=replace(c.watch.config, voice=voice))
    assert codes(c) == ["cannot_update_voice"]
    assert len(c.told(ev.ResponseStarted)) == 2


def context(*clips: str) -> tuple[Message, ...]:
    return tuple(Message("", "user", (Text("Listen:"), Audio(AudioRef(name, 0, S)))) for name in clips)


def test_an_answer_waits_for_the_words_of_the_audio_in_its_context() -> None:
    c = Call(playout="client")
    asked = c.do(inp.CreateResponse, 1.0, context=context("one", "two", "one"))
    jobs = [e.job for e in asked if isinstance(e, fx.Transcribe)]
    assert len(jobs) == 2 and c.told(ev.ResponseStarted) == []
    c.do(inp.CreateResponse, 1.05)
    assert codes(c) == ["conversation_already_has_active_response"]
    c.do(inp.Transcribed, 1.1, job=jobs[1], text="Second")
    assert c.told(ev.ResponseStarted) == []
    effects = c.do(inp.Transcribed, 1.2, job=jobs[0], text="First")
    [generate] = [e for e in effects if isinstance(e, fx.Generate)]
    said = [i.text for i in generate.history if isinstance(i, Message)]
    assert said == ["Listen: First", "Listen: Second", "Listen: First"]
    assert c.told(ev.TranscriptDone) == [] and c.watch.state.conversation.items[:-1] == ()
    assert c.watch.state.meter.stt_samples == 2 * S


def test_an_answer_out_of_band_waits_for_its_own_words_only() -> None:
    c = Call(playout="client")
    waiting_for_words(c)
    asked = c.do(inp.CreateResponse, 2.7, out_of_band=True, context=context("one"))
    [job] = [e.job for e in asked if isinstance(e, fx.Transcribe)]
    effects = c.do(inp.TranscriptionFailed, 2.8, job=job, message="deaf")
    [generate] = [e for e in effects if isinstance(e, fx.Generate)]
    assert [i.text for i in generate.history if isinstance(i, Message)] == ["Listen:"]
    assert [f.stage for f in c.told(ev.Failure)] == ["stt"]
    assert [r.response.out_of_band for r in c.told(ev.ResponseStarted)] == [True]


@pytest.mark.parametrize("aside", [False, True])
def test_words_for_an_answer_that_never_comes_are_not_waited_for(aside: bool) -> None:
    c = Call(playout="client", max_seconds=3.0, grace=1.0)
    asked = c.do(inp.CreateResponse, 1.0, out_of_band=aside, context=context("one"))
    [job] = [e.job for e in asked if isinstance(e, fx.Transcribe)]
    assert fx.Cancel(job) in c.do(inp.Tick, 3.0)
    assert c.told(ev.ResponseStarted) == []


def test_an_answer_that_replaces_another_does_not_wait_for_its_words() -> None:
    c = Call(playout="client")
    [job] = [e.job for e in c.do(inp.CreateResponse, 1.0, context=context("one")) if isinstance(e, fx.Transcribe)]
    effects = c.do(inp.CreateResponse, 1.1, context=(), when_busy="interrupt")
    assert fx.Cancel(job) in effects and len(c.told(ev.ResponseStarted)) == 1


def test_push_to_talk_keeps_what_it_may_still_need() -> None:
    c = Call(playout="client", turn=Turn(mode="manual"))
    assert (c.watch.state.keep_from, c.watch.state.listening_turn, c.watch.state.active_response_id) == (0, False, None)
    c.do(inp.CommitAudio, 1.0, end=S)
    assert c.watch.state.keep_from == 0
    c.do(inp.Transcribed, 1.2, job="stt", text="Hi")
    assert c.watch.state.keep_from == S


def test_a_commit_in_mid_speech_keeps_the_announced_id() -> None:
    c = Call(playout="server")
    playing_out(c)
    c.do(inp.VoiceOn, 3.0, sample=3 * S)
    c.hear_until(3.25)
    started = c.told(ev.SpeechStarted)[-1].item_id
    effects = c.do(inp.CommitAudio, 3.3, end=int(3.3 * S))
    assert c.told(ev.Committed)[-1].item_id == started
    assert fx.Resume() in effects


def test_a_stalled_microphone_ends_the_turn_and_drops_a_sound() -> None:
    c = Call(playout="server")
    c.do(inp.VoiceOn, 1.0, sample=S)
    c.hear_until(1.5)
    c.do(inp.AudioStalled, 3.0, sample=int(1.5 * S))
    assert len(c.told(ev.SpeechStopped)) == 1
    c.do(inp.VoiceOn, 4.0, sample=4 * S)
    c.do(inp.AudioStalled, 6.0, sample=4 * S)
    c.do(inp.AudioStalled, 7.0, sample=4 * S)
    assert len(c.told(ev.SpeechStarted)) == 1


def test_a_transcription_session_never_answers() -> None:
    c = Call(playout="client", respond=False)
    c.do(inp.CreateResponse, 1.0)
    assert codes(c) == ["invalid_event"]


# --- the lifecycle ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("respond", [True, False])
def test_an_idle_user_is_prompted_once(keep: bool, respond: bool) -> None:
    c = Call(
        playout="server", turn=Turn(idle=5.0, keep_empty=keep), idle_prompt="Ask if they are there.", respond=respond
    )
    assert c.watch.state.deadline == 5.0
    effects = c.do(inp.Tick, 5.0)
    assert len(c.told(ev.IdleTimeout)) == 1
    assert len(c.told(ev.Committed)) == (1 if keep else 0)
    asked = [e for e in effects if isinstance(e, fx.Generate)]
    assert [e.config.instructions for e in asked] == (["Ask if they are there."] if respond else [])
    c.do(inp.GenerationDone, 6.0, job="llm")
    c.do(inp.Tick, 30.0)
    assert len(c.told(ev.IdleTimeout)) == 1
    c.speak(31.0, 31.05)
    c.do(inp.AddItem, 32.0, item=Message("", "user", (Text("Hi"),)))
    c.hear_until(32.0)
    c.do(inp.Tick, 37.0)
    assert len(c.told(ev.IdleTimeout)) == 2


def test_an_idle_prompt_without_words_of_its_own() -> None:
    c = Call(playout="server", turn=Turn(idle=5.0))
    assert any(isinstance(e, fx.Generate) for e in c.do(inp.Tick, 5.0))


def test_a_session_nobody_uses_ends() -> None:
    c = Call(playout="client", idle_close=9.0)
    c.do(inp.Tick, 9.0)
    assert c.told(ev.Ended)[0].record.reason == "idle"


def test_at_the_limit_the_sentence_may_end() -> None:
    c = Call(playout="server", max_seconds=3.0, grace=2.0)
    playing_out(c)
    c.do(inp.CreateResponse, 2.8, out_of_band=True)
    c.do(inp.Tick, 3.0)
    assert len(c.told(ev.Ending)) == 1 and not c.watch.state.ended
    c.do(inp.CreateResponse, 3.1)
    c.do(inp.VoiceOn, 3.2, sample=4 * S)
    assert codes(c) == ["session_expired"]
    c.do(inp.Drained, 4.0, heard=200_000)
    record = c.told(ev.Ended)[0].record
    assert (record.reason, record.seconds) == ("max_duration", 3.0)


def test_at_the_limit_the_grace_is_bounded() -> None:
    c = Call(playout="server", max_seconds=3.0, grace=1.0)
    playing_out(c)
    c.do(inp.Tick, 3.0)
    c.do(inp.Tick, 4.0)
    assert c.watch.state.ended


def test_a_client_that_went_away_is_awaited_and_not_spoken_to() -> None:
    c = Call(playout="server", linger=5.0)
    speaking(c)
    c.do(inp.PeerGone, 3.0, heard=2000)
    c.do(inp.PeerGone, 3.5)
    assert [d.response.status for d in c.told(ev.ResponseDone)] == ["cancelled"]
    c.do(inp.CreateResponse, 4.0)
    assert len(c.told(ev.ResponseStarted)) == 1
    c.do(inp.PeerBack, 5.0)
    assert len(c.told(ev.ResponseStarted)) == 2
    c.do(inp.PeerGone, 6.0)
    c.do(inp.Tick, 11.0)
    assert c.told(ev.Ended)[0].record.reason == "peer_gone"


def test_the_end_cancels_what_is_awaited() -> None:
    c = Call(playout="client")
    waiting_for_words(c)
    effects = c.do(inp.Close, 3.0)
    assert fx.Cancel(c.jobs[fx.Transcribe]) in effects


def fields(**kw: Any) -> dict[str, Any]:
    return kw


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (inp.RetrieveItem, fields(item_id="none")),
        (inp.DeleteItem, fields(item_id="none")),
        (inp.TruncateItem, fields(item_id="none", content_index=0, audio_end_ms=0)),
        (inp.AddItem, fields(item=Message("", "user"), after="none")),
        (inp.CancelResponse, fields()),
        (inp.CommitAudio, fields(end=0)),
    ],
)
def test_errors_carry_the_command_they_answer(kind: type, given: dict[str, Any]) -> None:
    c = Call(playout="client")
    c.do(kind, 1.0, command_id="event_7", **given)
    (rejected,) = c.told(ev.Rejected)
    assert rejected.command_id == "event_7"
    assert rejected.code and rejected.message


# --- plain paths that the other stories pass by -----------------------------------------------------------------------


def test_a_spoken_answer_that_no_turn_asked_for_has_no_latencies() -> None:
    c = Call(playout="server", max_seconds=None)
    c.do(inp.CreateResponse, 1.0)
    c.do(inp.TextGenerated, 1.1, job="llm", delta="Welcome. ")
    c.do(inp.Synthesized, 1.2, job="tts", samples=480)
    assert len(c.told(ev.PlayoutStarted)) == 1
    assert c.told(ev.TurnMetrics) == []
    assert c.watch.state.deadline is None


@pytest.mark.parametrize(("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_cut_by_its_llm_is_incomplete(reason: Any, told: str) -> None:
    c = Call(playout="client", modality="text")
    c.do(inp.CreateResponse, 1.0)
    c.do(inp.TextGenerated, 1.1, job="llm", delta="Once upon a")
    c.do(inp.GenerationDone, 1.2, job="llm", reason=reason)
    (done,) = c.told(ev.ResponseDone)
    assert (done.response.status, done.response.reason) == ("incomplete", told)
    assert texts(c, "assistant") == ["Once upon a"]


def test_a_written_answer_completes() -> None:
    c = Call(playout="client", modality="text")
    c.do(inp.CreateResponse, 1.0)
    c.do(inp.TextGenerated, 1.1, job="llm", delta="Written.")
    c.do(inp.GenerationDone, 1.2, job="llm")
    assert [p.text for p in c.told(ev.PartDone)] == ["Written."]


def test_items_are_retrieved_and_stray_outputs_refused() -> None:
    c = Call(playout="client")
    c.do(inp.AddItem, 1.0, item=Message("mine", "user", (Text("Hi"),)))
    c.do(inp.RetrieveItem, 1.1, item_id="mine", command_id="e1")
    assert [(r.item.id, r.command_id) for r in c.told(ev.ItemRetrieved)] == [("mine", "e1")]
    c.do(inp.AddItem, 1.2, item=FunctionCallOutput("", "call_none", "{}"))
    c.do(inp.AddItem, 1.3, item=Message("mine", "user"))
    assert codes(c) == ["invalid_tool_call_id", "item_create_duplicate_id"]


def test_push_to_talk_chosen_in_mid_speech_forgets_the_turn_and_idle_times_start_anew() -> None:
    c = Call(playout="client")
    c.do(inp.VoiceOn, 1.0, sample=S)
    c.hear_until(1.5)
    c.do(inp.Configure, 1.6, config=Config(turn=Turn(mode="manual")))
    assert [d.reason for d in c.told(ev.TurnDropped)] == ["cleared"]
    c.do(inp.Configure, 5.0, config=Config(turn=Turn(idle=5.0)))
    assert c.watch.state.deadline == 10.0


def test_a_turn_that_asks_for_no_answer_begins_none_on_trial() -> None:
    c = Call(playout="client", turn=Turn(create_response=False))
    c.speak(1.0, 2.0)
    c.hear_until(2.2)
    c.do(inp.Transcribed, 2.3, job="stt", text="Just a note.")
    assert c.watch.state.trial is None
    c.hear_until(2.5)
    assert texts(c, "user") == ["Just a note."] and c.told(ev.ResponseStarted) == []


def test_the_end_closes_what_runs_out_of_band() -> None:
    c = Call(playout="client")
    c.do(inp.CreateResponse, 1.0, out_of_band=True)
    c.do(inp.Close, 2.0)
    assert [d.response.status for d in c.told(ev.ResponseDone)] == ["cancelled"]
