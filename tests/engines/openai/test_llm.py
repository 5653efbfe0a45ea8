from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.core.items import FunctionCall, FunctionCallOutput, Image, Message, Text, Tool, Usage
from antiphon.engines.chain import LlmChain, Patience
from antiphon.engines.openai import OpenAiLlm
from antiphon.engines.ports import EngineError, LlmCall, LlmChunk, LlmDone, LlmRequest, LlmText

if TYPE_CHECKING:
    from tests.engines.openai.conftest import Server

KEY = "sk-secret-0123456789"
ASKED = LlmRequest((Message("u", "user", (Text("hi"),)),))


def words(text: str | None, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    if text is not None:
        delta["content"] = text
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int | None, arguments: str = "", call_id: str | None = None, name: str | None = None) -> dict[str, Any]:
    piece = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return words(None, tool_calls=[piece])


@pytest.fixture
async def make(server: Server) -> AsyncIterator[Any]:
    made: list[OpenAiLlm] = []

    def factory(**options: Any) -> OpenAiLlm:
        table = {"base_url": server.url, "api_key": KEY, "model": "small", **options}
        made.append(OpenAiLlm("remote", table))
        return made[-1]

    yield factory
    for engine in made:
        await engine.close()


async def collect(llm: OpenAiLlm | LlmChain, request: LlmRequest = ASKED) -> list[LlmChunk]:
    return [chunk async for chunk in llm.generate(request)]


async def failure(llm: OpenAiLlm | LlmChain, request: LlmRequest = ASKED) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await collect(llm, request)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None or KEY not in str(caught.value.__cause__)
    return caught.value


async def test_words_and_usage_are_streamed(server: Server, make: Any) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}
    server.events(words("", role="assistant"), words("Hello "), words("there."), words(None, "stop"),
                  {"choices": [], "usage": usage})  # fmt: skip
    assert await collect(make()) == [
        LlmText("Hello "),
        LlmText("there."),
        LlmDone("stop", Usage(input_text_tokens=12, cached_tokens=8, output_text_tokens=3)),
    ]
    asked = server.received[0]
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json == {
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_everything_that_can_be_asked_for(server: Server, make: Any) -> None:
    server.events(words("ok", "length"))
    picture = Message("u", "user", (Text("What is it?"), Image("data:image/png;base64,AAAA", "low")))
    called = FunctionCall("f", "c1", "look", "{}"), FunctionCallOutput("o", "c1", "a cat")
    request = LlmRequest(
        (picture, *called),
        instructions="Be brief.",
        tools=(Tool("look", "Looks.", '{"type":"object"}'),),
        tool_choice="look",
        parallel_tool_calls=False,
        max_output_tokens=50,
        temperature=0.5,
        model="big",
    )
    llm = make(models=["big"], max_output_tokens=80, extra={"top_k": 5}, usage=False, headers={"X-Team": "voice"})
    assert (await collect(llm, request))[-1] == LlmDone("length")
    assert server.received[0].headers["x-team"] == "voice"
    body = server.received[0].json
    assert [m["role"] for m in body.pop("messages")] == ["system", "user", "assistant", "tool"]
    assert body == {
        "model": "big",
        "stream": True,
        "temperature": 0.5,
        "max_tokens": 50,
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "top_k": 5,
    }


async def test_a_model_that_is_not_listed_is_not_asked_for(server: Server, make: Any) -> None:
    server.events(words("ok", "stop"))
    await collect(make(), LlmRequest(ASKED.history, model="gpt-realtime"))
    assert server.received[0].json["model"] == "small"


async def test_parallel_tool_calls(server: Server, make: Any) -> None:
    server.events(
        call(0, "", "c1", "weather"), call(0, '{"city":'), call(1, "", "c2", "time"), call(0, '"Paris"}'),
        call(1, "{}"), words(None, "tool_calls"),
    )  # fmt: skip
    assert await collect(make()) == [
        LlmCall(0, "", "c1", "weather"),
        LlmCall(0, '{"city":'),
        LlmCall(1, "", "c2", "time"),
        LlmCall(0, '"Paris"}'),
        LlmCall(1, "{}"),
        LlmDone("stop"),
    ]


@pytest.mark.parametrize("index", [0, None])
async def test_servers_that_do_not_number_their_calls(server: Server, make: Any, index: int | None) -> None:
    server.events(
        call(index, "{}", "c1", "weather"), call(index, "{", "c2", "time"), call(index, "}"), words(None, "stop")
    )
    got = await collect(make())
    assert got[:3] == [LlmCall(0, "{}", "c1", "weather"), LlmCall(1, "{", "c2", "time"), LlmCall(1, "}")]


async def test_calls_without_an_id_get_one(server: Server, make: Any) -> None:
    server.events(call(0, "{}", None, "weather"), call(1, "{}", None, "time"), words(None, "stop"))
    first, second, _ = await collect(make())
    assert isinstance(first, LlmCall)
    assert isinstance(second, LlmCall)
    assert first.call_id.startswith("call_")
    assert first.call_id != second.call_id


async def test_a_refusal_is_said_and_a_filter_told(server: Server, make: Any) -> None:
    server.events(words(None, refusal="I cannot."), words(None, "content_filter"))
    assert await collect(make()) == [LlmText("I cannot."), LlmDone("content_filter")]


@pytest.mark.parametrize(
    ("status", "error", "kind", "says"),
    [
        (401, {"message": f"Incorrect API key provided: {KEY}"}, "rejected", "does not accept the API key (401)"),
        (403, {"message": "no"}, "rejected", "forbids this to the API key (403)"),
        (400, {"message": f"bad  tool, {KEY}\nBearer abc"}, "rejected", "refused the request (400): bad tool, … …"),
        (404, {"message": "no model 'small'"}, "rejected", "refused the request (404): no model 'small'"),
        (422, {"message": "x" * 1000}, "rejected", "x…"),
        (429, {"message": "quota", "code": "insufficient_quota"}, "rejected", "is used up (429)"),
        (429, {"message": "slow down"}, "rejected", "gets too many requests (429)"),
        (408, {"message": "late"}, "timeout", "gave up on the request (408)"),
        (500, {"message": "oops"}, "unavailable", "failed (500)"),
        (503, {"message": "loading"}, "unavailable", "failed (503)"),
    ],
)
async def test_refusals_in_clear_words(
    server: Server, make: Any, status: int, error: Any, kind: str, says: str
) -> None:
    server.json({"error": error}, status)
    problem = await failure(make())
    assert problem.kind == kind
    assert str(problem).startswith("remote: ")
    assert says in str(problem)
    assert len(str(problem)) < 450


async def test_nobody_listens(make: Any) -> None:
    problem = await failure(make(base_url="http://user:hidden@127.0.0.1:9/v1"))
    assert problem.kind == "unavailable"
    assert str(problem) == "remote: cannot reach http://127.0.0.1:9, or it closed the connection"


@pytest.mark.parametrize(
    ("events", "kind", "says"),
    [
        (["{not json"], "bad_output", "answered what cannot be read (JSONDecodeError)"),
        (["17"], "bad_output", "a chunk of the answer holds no choices"),
        ([{"choices": "none"}], "bad_output", "a chunk of the answer holds no choices"),
        ([words(None, content=5)], "bad_output", "expected text, got int"),
        ([{"error": {"message": "out of memory"}}], "unavailable", "reported a failure: out of memory"),
        ([words("half a"), words(" sentence")], "bad_output", "the answer broke off"),
        ([], "bad_output", "the answer broke off"),
    ],
)
async def test_streams_that_are_not_what_they_should_be(
    server: Server, make: Any, events: list[Any], kind: str, says: str
) -> None:
    server.events(*events)
    problem = await failure(make())
    assert problem.kind == kind
    assert says in str(problem)


async def test_a_connection_cut_in_mid_answer(server: Server, make: Any, special: tuple[object, object]) -> None:
    server.events(words("half a"), special[1], done=False)
    llm = make()
    stream = llm.generate(ASKED)
    assert await anext(stream) == LlmText("half a")
    with pytest.raises(EngineError) as caught:
        await anext(stream)
    assert caught.value.kind == "unavailable"


async def test_a_hanging_endpoint_is_left_in_time(server: Server, make: Any, special: tuple[object, object]) -> None:
    server.events(special[0], done=False)
    problem = await failure(make(timeout=0.05))
    assert problem.kind == "timeout"
    server.events(words("half"), special[0], done=False)
    chain = LlmChain([make()], Patience(first=5.0, between=0.05, retries=0))
    problem = await failure(chain)
    assert problem.kind == "timeout"
    assert "after a part" in str(problem)
    await asyncio.wait_for(server.left.wait(), 5)


async def test_closing_the_answer_hangs_up(server: Server, make: Any, special: tuple[object, object]) -> None:
    server.events(words("one"), special[0], done=False)
    stream = make().generate(ASKED)
    assert await anext(stream) == LlmText("one")
    await stream.aclose()
    await asyncio.wait_for(server.left.wait(), 5)


async def test_cancelling_hangs_up(server: Server, make: Any, special: tuple[object, object]) -> None:
    server.events(special[0], done=False)
    task = asyncio.create_task(collect(make()))
    await asyncio.wait_for(server.asked.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.left.wait(), 5)


async def test_failures_then_success_by_the_chain(server: Server, make: Any) -> None:
    server.json({"error": {"message": "starting"}}, 503)
    server.json({"error": {"message": "starting"}}, 500)
    server.events(words("now", "stop"))
    chain = LlmChain([make()], Patience(first=5.0, backoff=0.001))
    assert await collect(chain) == [LlmText("now"), LlmDone("stop")]
    assert len(server.received) == 3


async def test_warm_up_asks_for_the_models(server: Server, make: Any) -> None:
    server.json({"object": "list", "data": []})
    server.json({"error": {"message": "no such path"}}, 404)
    server.json({"error": {"message": "not allowed"}}, 405)
    server.json({"error": {"message": "bad key"}}, 401)
    llm = make()
    for _ in range(3):
        await llm.warm_up()
    assert {r.path for r in server.received} == {"/v1/models"}
    with pytest.raises(EngineError, match="check `api_key`"):
        await llm.warm_up()


async def test_the_environments_key_is_for_openai_only(
    server: Server, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-environment")
    server.events(words("ok", "stop"))
    await collect(make(api_key=""))
    assert server.received[0].headers["authorization"] == "Bearer none"
    assert "environment" not in str(server.received[0].headers)


async def test_tools_that_are_no_tools_are_refused_before_anything_is_sent(server: Server, make: Any) -> None:
    problem = await failure(make(), LlmRequest(ASKED.history, tools=(Tool("look", parameters="[]"),)))
    assert problem.kind == "rejected"
    assert not server.received


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["<think>Well", " now</think>", "\n\nHello ", "there."], "Hello there."),
        (["\n<th", "ink>a </thi", "nk> Hel", "lo"], "Hello"),
        (["<th", "orn> it is"], "<thorn> it is"),
        (["Say <think>", "this</think>"], "Say <think>this</think>"),
        (["<th"], "<th"),
        (["<think>never", " ending"], ""),
    ],
)
async def test_thoughts_are_not_said(server: Server, make: Any, pieces: list[str], said: str) -> None:
    for _ in range(2):
        server.events(*map(words, pieces), words(None, "stop"))
    for thoughts, expected in ((False, said), (True, "".join(pieces))):
        got = await collect(make(thoughts=thoughts))
        assert "".join(c.delta for c in got if isinstance(c, LlmText)) == expected
        assert got[-1] == LlmDone("stop")


async def test_usage_and_empty_chunks_of_other_servers(server: Server, make: Any) -> None:
    server.events({"choices": []}, words("ok"), {"usage": {"prompt_tokens": "many"}}, words(None, "stop"))
    assert await collect(make()) == [LlmText("ok"), LlmDone("stop")]
