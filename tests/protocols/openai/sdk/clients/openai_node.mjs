// npm `openai` over TLS: push to talk, a tool, a spoken answer cut short, an error.

import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { VERSION } from 'openai/version';
import { Inbox, base64, speech, tell } from './common.mjs';

tell({ version: VERSION });
const client = new OpenAI({ baseURL: process.env.ANTIPHON_HTTP });
const realtime = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client);
const inbox = new Inbox();
realtime.on('event', (event) => inbox.put(event.type, event));
realtime.on('error', (error) => tell({ listener: error.message, code: error.error?.code }));

await inbox.until('session.created');
realtime.send({
  type: 'session.update',
  session: {
    type: 'realtime',
    output_modalities: ['text'],
    audio: { input: { turn_detection: null, transcription: { model: 'whisper-1' } } },
    tools: [{ type: 'function', name: 'get_weather', parameters: { type: 'object', properties: {} } }],
  },
});
tell({ modalities: (await inbox.until('session.updated')).session.output_modalities });

const content = [{ type: 'input_text', text: 'What is the weather?' }];
realtime.send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content } });
realtime.send({ type: 'response.create' });
const call = (await inbox.until('response.done')).response.output[0];
tell({ call: call.name, arguments: call.arguments });
const output = { type: 'function_call_output', call_id: call.call_id, output: 'sunny' };
realtime.send({ type: 'conversation.item.create', item: output });
realtime.send({ type: 'response.create' });
tell({ text: (await inbox.until('response.output_text.done')).text });
await inbox.until('response.done');

for (const chunk of speech(0.5)) realtime.send({ type: 'input_audio_buffer.append', audio: base64(chunk) });
realtime.send({ type: 'input_audio_buffer.commit' });
realtime.send({ type: 'response.create', response: { output_modalities: ['audio'] } });
tell({ heard: (await inbox.until('conversation.item.input_audio_transcription.completed')).transcript });
const { item_id } = await inbox.until('response.output_audio.delta');
realtime.send({ type: 'response.cancel' });
tell({ status: (await inbox.until('response.done')).response.status });
realtime.send({ type: 'conversation.item.truncate', item_id, content_index: 0, audio_end_ms: 50 });
tell({ truncated: (await inbox.until('conversation.item.truncated')).audio_end_ms });
realtime.send({ type: 'conversation.item.delete', item_id: 'item_nowhere', event_id: 'mine' });
tell({ event_id: (await inbox.until('error')).error.event_id });

realtime.socket.on('close', (code) => tell({ closed: code }));
realtime.close();
