"""English text to phonemes, one symbol each, in the alphabet that Kokoro reads.

espeak-ng's library is called directly: a sentence takes a fraction of a millisecond.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from functools import lru_cache

SILENCE = "_"
_MERGED = {
    "eɪ": "A",
    "aɪ": "I",
    "oʊ": "O",
    "əʊ": "Q",
    "aʊ": "W",
    "ɔɪ": "Y",
    "tʃ": "ʧ",
    "dʒ": "ʤ",
    "ɚ": "əɹ",
    "r": "ɹ",
    "x": "k",
}
_DROPPED = "ː̩ˑʲ̃‍‿͡"
_CLAUSE = re.compile(r"([,.!?;:])")

_VOICES = {"us": "en-us", "gb": "gmw/en"}


@lru_cache(1)
def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
    library = ctypes.CDLL(name)
    library.espeak_Initialize(2, 0, None, 0)  # AUDIO_OUTPUT_SYNCHRONOUS
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    return library


@lru_cache(200_000)
def _clause(text: str, accent: str) -> str:
    library = _library()
    library.espeak_SetVoiceByName(_VOICES[accent].encode())
    pointer = ctypes.c_char_p(text.encode())
    parts = []
    while pointer.value:
        found = library.espeak_TextToPhonemes(ctypes.byref(pointer), 1, 0x02)  # UTF-8 in, IPA out
        parts.append((found or b"").decode())
        if not pointer.value:
            break
    ipa = " ".join(parts).replace("\n", " ")
    if accent == "us":
        ipa = ipa.replace("ɜː", "ɜɹ")
    for old, new in _MERGED.items():
        ipa = ipa.replace(old, new)
    return " ".join("".join(c for c in ipa if c not in _DROPPED).split())


def phonemes(text: str, accent: str = "us") -> str:
    """Phonemes of a sentence with its stress marks, spaces and punctuation, as Kokoro reads them."""
    pieces = _CLAUSE.split(text)
    out = ""
    for piece in pieces:
        if _CLAUSE.fullmatch(piece):
            out = out.rstrip() + piece + " "
        elif piece.strip():
            out += _clause(piece.strip(), accent) + " "
    return out.strip()


def phones(text: str, accent: str = "us") -> list[str]:
    """The bare phoneme symbols of a sentence; SILENCE stands where punctuation asks for a pause."""
    return [SILENCE if c in ",.!?;:" else c for c in phonemes(text, accent) if c not in "ˈˌ "]
