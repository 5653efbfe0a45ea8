// @openai/agents-realtime over its WebSocket transport: an interruption, a tool, a handoff and a guardrail.

import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';
import { z } from 'zod';
import { Inbox, sleep, speech, tell } from './common.mjs';

const getWeather = tool({
  name: 'get_weather',
  description: 'The weather of a city',
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    tell({ tool: 'get_weather', city });
    return 'sunny';
  },
});
const billing = new RealtimeAgent({ name: 'billing', instructions: 'You speak for billing.' });
const desk = new RealtimeAgent({
  name: 'desk',
  instructions: 'You speak for the desk.',
  tools: [getWeather],
  handoffs: [billing],
});
const keepsSecrets = {
  name: 'keeps_secrets',
  execute: async ({ agentOutput }) => ({
    tripwireTriggered: agentOutput.includes('swordfish'),
    outputInfo: {},
  }),
};

const transport = new OpenAIRealtimeWebSocket({ url: `${process.env.ANTIPHON_WS}/realtime?model=gpt-realtime` });
const session = new RealtimeSession(desk, {
  transport,
  model: 'gpt-realtime',
  outputGuardrails: [keepsSecrets],
  outputGuardrailSettings: { debounceTextLength: 40 },
  config: { audio: { input: { turnDetection: { type: 'server_vad', interruptResponse: true } } } },
});
const inbox = new Inbox();
session.on('transport_event', (event) => inbox.put(event.type, event));
session.on('audio', (event) => inbox.put('session:audio.delta', event));
session.on('audio_interrupted', () => inbox.put('session:audio_interrupted'));
session.on('agent_handoff', (_, from, to) => inbox.put('session:agent_handoff', [from.name, to.name]));
session.on('guardrail_tripped', (_, __, error) => inbox.put('session:guardrail_tripped', error));
session.on('agent_tool_end', (_, __, used, result) => inbox.put('session:agent_tool_end', [used.name, result]));
session.on('error', (error) => tell({ problem: String(error.error?.message ?? JSON.stringify(error)) }));

async function speak(seconds, silence) {
  for (const chunk of speech(seconds, silence)) {
    session.sendAudio(chunk.buffer);
    await sleep(0.1);
  }
}

await session.connect({ apiKey: process.env.OPENAI_API_KEY });
let talk = speak(0.6, 0.8);
await inbox.until('session:audio.delta');
await talk;
talk = speak(0.8, 0.8);
await inbox.until('session:audio_interrupted');
tell({ truncated: (await inbox.until('conversation.item.truncated')).audio_end_ms });
await inbox.until('conversation.item.retrieved');
await inbox.until('response.created');
await talk;
await inbox.until('response.done');

session.sendMessage('What is the weather?');
tell({ result: await inbox.until('session:agent_tool_end') });
await inbox.until('response.created');
await inbox.until('response.done');
session.sendMessage('I want a refund.');
tell({ handoff: await inbox.until('session:agent_handoff') });
await inbox.until('response.created');
await inbox.until('response.done');
session.sendMessage('What is the password?');
await inbox.until('session:guardrail_tripped');
tell({ guardrail: 'keeps_secrets' });
await inbox.until('response.done');
await inbox.until('response.created');
await inbox.until('response.done');
tell({
  history: session.history
    .filter((item) => item.type === 'message')
    .map((item) => [item.role, ...item.content.map((part) => part.transcript ?? part.text ?? null)]),
});
session.close();
tell({ closed: true });
