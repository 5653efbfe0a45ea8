// openai-realtime-api, the kept-up rewrite of OpenAI's reference client: its cache of items, tools, push to talk, cancel.

import { RealtimeClient } from 'openai-realtime-api';
import { Inbox, speech, tell } from './common.mjs';

const client = new RealtimeClient({
  url: `${process.env.ANTIPHON_WS}/realtime`,
  sessionConfig: { turn_detection: null, input_audio_transcription: { model: 'whisper-1' } },
});
const inbox = new Inbox();
client.on('realtime.event', ({ source, event }) => {
  if (source === 'server') inbox.put(event.type, event);
});
client.on('conversation.item.completed', ({ item }) => inbox.put(`completed:${item.role ?? item.type}`, item));

await client.connect();
tell({ connected: client.isConnected });
await client.waitForSessionCreated();
await inbox.until('session.updated');
client.addTool(
  { name: 'get_weather', description: 'The weather of a city', parameters: { type: 'object', properties: {} } },
  async ({ city }) => {
    tell({ tool: 'get_weather', city });
    return 'sunny';
  },
);
await inbox.until('session.updated');

client.sendUserMessageContent([{ type: 'input_text', text: 'What is the weather?' }]);
tell({ user: (await inbox.until('completed:user')).formatted.text });
tell({ call: (await inbox.until('completed:function_call')).formatted.tool });
const answer = await inbox.until('completed:assistant');
tell({ assistant: answer.formatted.transcript, samples: answer.formatted.audio.length });

for (const chunk of speech(0.5)) client.appendInputAudio(chunk);
client.createResponse();
const { item } = await inbox.until('conversation.item.created');
tell({ user: item.role });
tell({ heard: (await inbox.until('conversation.item.input_audio_transcription.completed')).transcript });
const { item_id } = await inbox.until('response.audio.delta');
client.cancelResponse(item_id, 1200);
tell({ truncated: (await inbox.until('conversation.item.truncated')).audio_end_ms });
tell({ kept: client.conversation.getItem(item_id).formatted.audio.length });
client.deleteItem(item_id);
await inbox.until('conversation.item.deleted');
tell({ items: client.conversation.getItems().map((i) => [i.role ?? i.type, i.status ?? null]) });
client.disconnect();
tell({ connected: client.isConnected });
