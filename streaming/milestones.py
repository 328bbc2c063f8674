"""The milestones of an answer to speech, by name. Each counts from the end of the user's speech, in milliseconds.

One name everywhere: in the event to the client and here with `_ms`, in the metrics and on the page without. A milestone
that an answer does not come to (it was interrupted, or nobody tells) is missing. They mostly come in this order, but
what is made before the end is sure comes before it.
"""

from __future__ import annotations

END_OF_SPEECH = "end_of_speech_ms"  # it is decided that the user has ended
TRANSCRIPTION = "transcription_ms"  # all of his words are known
FIRST_TOKEN = "first_token_ms"  # of the answer's words
FIRST_SPEECH_TOKEN = "first_speech_token_ms"
FIRST_AUDIO = "first_audio_ms"  # the first chunk of sound is made
FIRST_PACKET = "first_packet_ms"  # of the sound, handed to the network
FIRST_SOUND = "first_sound_ms"  # it can be heard at the client, by whose own report

NAMES = (END_OF_SPEECH, TRANSCRIPTION, FIRST_TOKEN, FIRST_SPEECH_TOKEN, FIRST_AUDIO, FIRST_PACKET, FIRST_SOUND)
