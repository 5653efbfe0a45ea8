"""What is said in the dialogues, and by which voices. All of it is drawn from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

Task = Literal["pause", "turn", "interruption", "backchannel", "noise", "aside"]
TASKS: tuple[Task, ...] = get_args(Task)

SPEECH = (
    "The oldest bridges were fallen trees. Later people laid flat stones from bank to bank. "
    "The Romans built arches, and some of theirs carry cars today. "
    "In the last century steel made it possible to cross whole bays in a single span."
)
"""What the agent says where it is spoken over; about 15 s."""

_BROKEN = (
    ("I would like to book a flight to,", "Lisbon on the third of May."),
    ("My account number is,", "four five one seven nine."),
    ("Could you tell me whether,", "the museum is open on Sundays?"),
    ("I was thinking about, um,", "maybe the blue one instead."),
    ("So the reason I am calling is that,", "my parcel has not arrived yet."),
    ("Please remind me to,", "call my sister at seven."),
    ("I need two tickets, and,", "one of them for a child."),
    ("What I really want to know is,", "how long the battery lasts."),
    ("The address is twelve,", "Station Road in Cambridge."),
    ("Well, let me think,", "I suppose Thursday would be fine."),
)
"""Halves of a turn: the first ends where nobody would think that it is over."""

_WHOLE = (
    "What is the weather like in Paris today?",
    "Can you tell me how far it is to the moon?",
    "Please turn off the lights in the kitchen.",
    "I would like a table for two at eight o'clock.",
    "How do I reset my password?",
    "Tell me something about the history of bridges.",
    "Which train should I take to the airport?",
    "My name is Anna and I am calling about my order.",
    "What time does the shop close on Saturday?",
    "Thank you, that was very helpful.",
)
_INTERRUPTIONS = (
    "Wait, stop. I wanted to ask about trains.",
    "Sorry, can you tell me the price first?",
    "No, that is not what I asked for.",
    "Hold on, how tall is the highest one?",
    "Excuse me, what about wooden bridges?",
    "Stop please, I have heard enough of that.",
)
_BACKCHANNELS = ("Uh-huh.", "Yeah.", "Okay.", "Right.", "Mm-hmm.", "I see.")
_ASIDES = (
    "Could you close the door, please, Tom?",
    "No, the dog has been fed already.",
    "Put it on the table over there.",
    "I will be with you in a minute, darling.",
    "Tell him that I will call back later.",
)
NOISES = ("cough", "knock", "keys", "hum", "rustle")

VOICES = (
    "piper",
    "espeak:en-us",
    "piper:0.9",
    "espeak:en-gb+f2",
    "piper:1.15",
    "espeak:en-us+m3",
)
"""``piper[:SPEED]`` or ``espeak:VOICE``."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something that comes from the user's side.

    Attributes:
        text: Words, or the name of a noise.
        after: Seconds after the end of the utterance before it, or after `cue`.
        cue: What the first utterance waits for: the beginning of the dialogue, or the agent's voice.
        gain: Factor on its level; below one it comes from further away.
        noise: Whether `text` names a noise.
    """

    text: str
    after: float
    cue: Literal["start", "agent"] = "start"
    gain: float = 1.0
    noise: bool = False


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One dialogue of a task."""

    task: Task
    voice: str
    utterances: tuple[Utterance, ...]
    agent_speaks: bool
    """Whether the agent is in the middle of :data:`SPEECH` when the user's side begins."""


def dialogues(task: Task, count: int, seed: int) -> Iterator[Dialogue]:
    """Draw the dialogues of a task; the same for the same arguments."""
    draw = random.Random(f"{task} {seed}")
    for number in range(count):
        yield _dialogue(task, number, VOICES[number % len(VOICES)], draw)


def _dialogue(task: Task, number: int, voice: str, draw: random.Random) -> Dialogue:
    start = draw.uniform(0.4, 0.8)
    over = draw.uniform(1.5, 4.0)
    alternate = number % 2 == 0
    match task:
        case "pause":
            first, second = _BROKEN[number % len(_BROKEN)]
            return Dialogue(task, voice, (Utterance(first, start), Utterance(second, draw.uniform(0.6, 1.6))), False)
        case "turn":
            return Dialogue(task, voice, (Utterance(_WHOLE[number % len(_WHOLE)], start),), False)
        case "interruption":
            text = _INTERRUPTIONS[number % len(_INTERRUPTIONS)]
            return Dialogue(task, voice, (Utterance(text, over, "agent"),), True)
        case "backchannel":
            text = _BACKCHANNELS[number % len(_BACKCHANNELS)]
            return Dialogue(task, voice, (Utterance(text, over, "agent"),), True)
        case "noise":
            noise = NOISES[number % len(NOISES)]
            sound = Utterance(noise, over, "agent", noise=True) if alternate else Utterance(noise, start, noise=True)
            return Dialogue(task, voice, (sound,), alternate)
        case "aside":
            text = _ASIDES[number % len(_ASIDES)]
            return Dialogue(task, voice, (Utterance(text, over, "agent", 0.25),), True)
