"""One conversation, sans I/O: what arrives goes in by `receive_*`, what is to be done comes out of `actions_to_run`.

A session knows no clock (times are given, in milliseconds of any monotonic one), no socket and no model. Over WebSocket
the answer's sound leaves in events as fast as it is made; where a playout paces it (`paced`, WebRTC) it leaves in
PlayAudio actions, and the playout's reports say what was heard.

The session has the turns and the responses. What has a state of its own (the user's sound, the sound of answers, the
camera, attachments and so on) is in a part in a file of its own; all put what they want done into one outbox.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable

import numpy as np

from streaming import events, milestones, turns
from streaming.actions import (
    Action,
    CancelResponse,
    CloseSession,
    DecodeFiles,
    DecodeFrame,
    ForgetAttachment,
    ReadAhead,
    ReportReply,
    ReportUsage,
    SendEvent,
    StartResponse,
)
from streaming.camera import Camera, Frame
from streaming.conversation import Conversation, Item, Part, instructions_of, read_input, read_item, shown_of
from streaming.eager import EagerReplies
from streaming.events import Json, Limits
from streaming.fields import Fields, ProtocolError
from streaming.glimpses import Glimpses
from streaming.hearing import KEPT_SILENCE_MS, Hearing
from streaming.latency import Latency, SpeechEnd
from streaming.media import Decoded, Kept, Media, read_file
from streaming.outbox import Outbox
from streaming.pcm import ms_to_samples, samples_to_ms
from streaming.playback import Playback
from streaming.playout import Played, Started, Stopped
from streaming.reply import Reply, Status
from streaming.requests import Requests, Running
from streaming.resumption import Resumption, expect_whole_sound, newest
from streaming.settings import ResponseSettings, SessionSettings
from streaming.transcription import Transcriptions
from streaming.types import (
    Abilities,
    AttachmentOutput,
    AttachmentStarted,
    Failed,
    Finished,
    FirstSpeechToken,
    Output,
    Overheard,
    Perceived,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    TranscriptDone,
    Turn,
)
from streaming.vad import (
    Interruption,
    SpeechBegan,
    SpeechDismissed,
    SpeechEnded,
    SpeechProbability,
    SpeechResumed,
    SpeechSuspected,
)
from streaming.works import Preview, Works


def random_id(prefix: str) -> str:
    """Nobody guesses it, so that an attachment's may be its address."""
    return f"{prefix}_{secrets.token_hex(16)}"


class Session:
    """Owns a conversation and its response. Call `open`, then give it what arrives and run `actions_to_run` each time.

    `listen` must be called after events and audio until it returns False: it is where the time goes, in small pieces.
    The connection may be lost: call `lose`, and `resume` when there is another one. Until then only `tick`, and what
    comes of the worker, may follow.
    """

    def __init__(
        self,
        settings: SessionSettings,
        probability: SpeechProbability,
        limits: Limits,
        *,
        model: str = "",
        min_speech_ms: int = 64,
        interruption: Interruption | None = None,
        scout: SpeechProbability | None = None,
        paced: bool = False,
        abilities: Abilities | None = None,
        preview: Preview = lambda _: "",
        expires_at: int = 0,
        resume_s: float = 0.0,
        new_id: Callable[[str], str] = random_id,
    ) -> None:
        self.id = new_id("sess")
        self.settings = settings
        self.closed = False
        self._model = model
        self._limits = limits
        self._abilities = abilities or Abilities()
        self._expires_at = expires_at
        self._new_id = new_id
        self._resumption = Resumption(resume_s, new_id)
        self._outbox = Outbox(self._resumption, new_id)
        self._do, self._send = self._outbox.do, self._outbox.send
        self._conversation_id = new_id("conv")
        self._conversation = Conversation()

        self._playback = Playback(self._outbox, paced)
        self._hearing = Hearing(
            settings.input_format,
            limits,
            probability,
            scout,
            min_speech_ms,
            interruption or Interruption(),
            self._playback.loudspeaker,
        )
        self._turn = turns.State.LISTENING
        self._speech_item_id = ""
        self._speech_end: SpeechEnd | None = None
        self._eager = EagerReplies(self._outbox)

        self._requests = Requests(self.id, self._abilities, self._outbox, new_id)
        self._active: Reply | None = None  # of the default conversation
        self._transcriptions = Transcriptions()
        self._latency = Latency(self._outbox)

        video = settings.default_video
        self._camera = Camera(video.change_share, video.look_again_s * 1000)
        self._glimpses = Glimpses(self._camera, self._outbox, self._conversation, limits, new_id)
        self._works = Works(self._outbox, self._conversation, limits, new_id, preview)
        self._undecoded: tuple[events.ClientEvent, str | None] | None = None  # an event whose files are being decoded

        self._now_ms = 0.0  # the newest time we were told
        self._opened_ms = 0.0
        self._busy_ms = 0.0  # when somebody last did something

    # In and out

    def open(self, now_ms: float, failure: ProtocolError | None = None) -> None:
        """The client can hear: greet it. `failure`: why it does not get the session that it came back for."""
        self._opened_ms = now_ms
        self._connected(now_ms)
        self._send(events.session_created(self.to_json()))
        if failure is not None:
            self._send(events.error(failure, None))

    @property
    def resumable(self) -> bool:
        """Whether it makes sense to wait for the client when its connection is lost."""
        return self._resumption.possible and not self.closed

    def is_token(self, token: str) -> bool:
        return not self.closed and self._resumption.is_token(token)

    def claim(self, token: str) -> bool:
        """Whether this is the token of `session.created` or `session.resumed`. It is good for one time: resume next."""
        return not self.closed and self._resumption.claim(token)

    def lose(self, now_ms: float, unsent: Iterable[Json] = (), silent_ms: float = 0.0) -> None:
        """The connection is gone. What the user was saying counts as said. Of an answer counts as heard what is known
        to have been heard; one of which that is nothing is given again after `resume`.

        `unsent`: events of before. `silent_ms`: for how long nothing has been heard of the peer, who cannot be thought
        to have heard us better.
        """
        self._now_ms = now_ms
        self._playback.lose(now_ms - silent_ms)
        self._resumption.lose(now_ms)
        for event in unsent:
            self._resumption.miss(event)
        self._undecoded = None
        if self._turn in turns.DOUBTS:
            self._drop_speech()
        if self._turn in turns.SPEAKS:
            self._speech_ended(self._hearing.break_off(), now_ms)
        self._playback.clear(now_ms)
        for reply in self._requests.live_replies:
            self._break_off(reply)
        self._latency.forget()
        if self._playback.last_stopped is not None:
            self._cut(self._playback.last_stopped, math.inf)

    def resume(self, now_ms: float, paced: bool) -> None:
        """There is another connection, and the client can hear. `paced`: by a playout."""
        missed = self._resumption.regain()
        self._playback.regain(paced)
        self._hearing.begin(self.settings.input_format)
        if self.settings.turn_detection is not None:
            self._hearing.listen_afresh()
        self._connected(now_ms)
        self._send(events.session_resumed(self.to_json(), self._conversation.last_id, newest(self._conversation)))
        for message in missed:
            self._do(SendEvent(message))
        self._answer_what_is_owed()
        self._transcribe_what_waits()

    def receive_event(self, message: str | bytes, now_ms: float) -> None:
        """One message of the client, as it came. What is wrong with it is answered by an error event."""
        self._now_ms = now_ms
        while self.listen(now_ms):
            pass
        event_id = None
        try:
            fields = events.read_message(message)
            event_id = fields.text("event_id", None, most=512)
            self._obey(events.parse(fields), event_id, now_ms)
        except ProtocolError as failure:
            self._send(events.error(failure, event_id))
        self._transcribe_what_waits()

    def receive_decoded(self, files: tuple[Decoded, ...], now_ms: float) -> None:
        """What came of the files that the last event brought: DecodeFiles."""
        assert self._undecoded is not None, "there was nothing to decode"
        (event, event_id), self._undecoded = self._undecoded, None
        try:
            self._obey(event, event_id, now_ms, files)
        except ProtocolError as failure:
            self._send(events.error(failure, event_id))
        self._transcribe_what_waits()

    def frame_is_due(self, now_ms: float) -> bool:
        """Whether the camera's picture of this moment is wanted. If so, that was the one for a while."""
        video = self.settings.video
        if video is None or "image" not in self._abilities.takes:
            return False
        return self._camera.is_due(now_ms, video.max_fps)

    def receive_frame(self, frame: Frame | ProtocolError, now_ms: float, event_id: str | None = None) -> None:
        """What the camera shows, or why that cannot be told."""
        if isinstance(frame, ProtocolError):
            self._send(events.error(frame, event_id))
        elif self.settings.video is not None:
            self._camera.receive(frame, now_ms)
            if self._turn in turns.SPEAKS:
                self._look_ahead(now_ms)

    def receive_audio(self, pcm: np.ndarray, now_ms: float) -> None:
        """Sound of a microphone that never pauses. pcm: [samples] float32 at SPEECH_RATE.

        Without turn detection the buffer keeps the newest utterance's length of it.
        """
        self._hearing.hear(pcm, self.settings.turn_detection is None, now_ms)

    def listen(self, now_ms: float, max_windows: int = 32) -> bool:
        """Look for speech in the sound received, in at most so many windows of 32 ms. True: there is more."""
        self._now_ms = now_ms
        detection = self.settings.turn_detection
        if detection is None:
            return False
        interrupts = self._turn in turns.DOUBTS or self._may_doubt(now_ms)
        match self._hearing.next_event(
            detection, self._eager.transcript, now_ms, max_windows, interrupts=interrupts, pauses=self._pauses
        ):
            case SpeechSuspected():
                self._turn_event(turns.Event.SPEECH_SUSPECTED)
            case SpeechDismissed() if self._turn in turns.DOUBTS:
                self._turn_event(turns.Event.SPEECH_DROPPED)
            case SpeechBegan():
                self._speech_began(now_ms)
            case SpeechResumed():
                self._eager.withdraw()
            case SpeechEnded() as ended:
                self._speech_ended(ended, now_ms)
        if self._hearing.waiting:
            return True
        if self._turn is turns.State.HEARING and not self._worker_is_busy:
            if self._hearing.paused:
                self._answer_eagerly(now_ms)
            else:
                self._read_ahead()
        return False

    def receive_output(self, output: Output, now_ms: float) -> None:
        """What the worker made. Outputs of responses that are over are stale and change nothing but history."""
        if not self._eager.hold(output, now_ms):
            self._receive_output(output, now_ms, now_ms)

    def _receive_output(self, output: Output, came_ms: float, now_ms: float) -> None:
        if isinstance(output, AttachmentOutput):
            self._receive_attachment(output, now_ms)
            return
        if isinstance(output, Finished):
            self._do(ReportUsage(output.usage))
        running = self._requests.get(output.response_id)
        if running is None:
            return
        self._busy_ms = self._now_ms = now_ms
        reply = running.live_reply
        match output:
            case TranscriptDelta(text=text):
                self._transcribed(running, running.transcript + text)
            case TranscriptDone(text=text, user_tokens=tokens):
                self._latency.passed(output.response_id, milestones.TRANSCRIPTION, came_ms)
                self._transcribed(running, text, done=True)
                running.settle(tokens)
            case Perceived(turn=turn, tokens=tokens):
                running.shown[turn].settle(tokens)
            case TextDelta(text=text) if reply is not None:
                self._reply_text(reply, text, came_ms)
            case FirstSpeechToken():
                self._latency.passed(output.response_id, milestones.FIRST_SPEECH_TOKEN, came_ms)
            case SpeechDelta(pcm=pcm) if reply is not None:
                self._reply_speech(reply, pcm, came_ms, now_ms)
            case Finished():
                self._finished(running, output)
            case Failed():
                self._failed(running, output)
        self._transcribe_what_waits()

    def receive_playout(self, report: Started | Stopped | Played, now_ms: float) -> None:
        """What the playout of the answer's sound has come to."""
        self._busy_ms = now_ms
        match report:
            case Started(response_id):
                self._playback.started(response_id, now_ms)
                self.receive_departure(response_id, now_ms)
            case Stopped(response_id):
                self._playback.stopped(response_id)
            case Played(response_id):
                item = self._playback.flushed(response_id)
                self._latency.stopped(response_id)
                if item is not None and self._resumption.lost:
                    self._cut(item, samples_to_ms(report.samples))
                elif item is not None:
                    self._playback.truncate(item, samples_to_ms(report.samples))

    def receive_departure(self, response_id: str, now_ms: float) -> None:
        """Sound of this response has been handed to the network. May be told again and again."""
        self._latency.left(response_id, now_ms)

    def tick(self, now_ms: float) -> None:
        """Call a few times a second: notices what does not happen."""
        self._now_ms = now_ms
        if self._resumption.lost:
            if self._resumption.expired(now_ms) or now_ms - self._opened_ms > self._limits.session_s * 1000:
                self._expire("session_expired", "Nobody came back.")
            return
        stalled = self._hearing.stalls(now_ms)
        if self._turn in turns.DOUBTS and stalled:
            self._drop_speech()
        if self._turn in turns.SPEAKS and stalled:
            self._speech_ended(self._hearing.break_off(), now_ms)
        if self._paced and self._hearing.misses_microphone(now_ms):
            words = "No sound arrives from your microphone. Check that it is connected and that this page may use it."
            self._send(events.error(ProtocolError("no_input_audio", words), None))
        if now_ms - self._busy_ms > self._limits.idle_s * 1000:
            self._expire("session_idle", f"Nothing was said for {self._limits.idle_s:g} s.")
        elif now_ms - self._opened_ms > self._limits.session_s * 1000:
            self._expire("session_expired", f"A session lasts {self._limits.session_s:g} s at most.")

    def actions_to_run(self) -> list[Action]:
        """What has to be done now, in this order."""
        return self._outbox.take()

    def to_json(self) -> Json:
        """The session as clients see it."""
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self.id,
            "model": self._model,
            "expires_at": self._expires_at,
            **self.settings.to_json(),
            **self.settings.extensions_to_json(self._abilities),
            "extensions": events.extensions(self._abilities, self._resumption.possible),
            **self._resumption.to_json(),
        }

    # Client events

    def _obey(
        self, event: events.ClientEvent, event_id: str | None, now_ms: float, files: tuple[Decoded, ...] = ()
    ) -> None:
        """An event that brings files is obeyed twice: first to find out what has to be decoded."""
        by_hand = self.settings.turn_detection is None
        if not isinstance(event, events.AppendImage) and (by_hand or not isinstance(event, events.AppendAudio)):
            self._busy_ms = now_ms
        media = Media(self._abilities.takes, self._limits, files)
        match event:
            case events.UpdateSession(fields):
                self._update(fields)
            case events.AppendAudio(audio):
                self._hearing.append(audio, by_hand, now_ms)
            case events.CommitAudio():
                self._commit_by_hand()
            case events.ClearAudio():
                self._clear()
            case events.ClearOutputAudio():
                self._clear_output()
            case events.CreateItem(fields, previous_item_id):
                self._create_item(fields, previous_item_id, media)
            case events.AppendImage(fields):
                self._append_image(fields, event_id, now_ms)
            case events.ClearImages():
                self._clear_camera()
                self._send(events.images_cleared())
            case events.RetrieveItem(item_id):
                self._send(events.item_retrieved(self._conversation.get(item_id).to_json()))
            case events.TruncateItem(item_id, content_index, audio_end_ms):
                self._conversation.get(item_id).truncate(content_index, audio_end_ms)
                if not self._paced:
                    self._playback.loudspeaker.stop(now_ms)  # as the client has
                self._send(events.item_truncated(item_id, content_index, audio_end_ms))
            case events.DeleteItem(item_id):
                self._delete(item_id)
            case events.CreateResponse(fields):
                self._respond(ResponseSettings.read(fields, self.settings, self._limits.text_characters), media)
            case events.CancelResponse(response_id):
                self._cancel(response_id)
            case events.ReportFirstSound(response_id, first_sound_ms):
                self._latency.first_sound(response_id, first_sound_ms)
        if media.missing:
            self._undecoded = (event, event_id)
            self._do(DecodeFiles(tuple(media.missing)))

    def _update(self, fields: Fields) -> None:
        old, new = self.settings, self.settings.updated(fields, self._limits.text_characters)
        if self._playback.has_spoken and new.voice != old.voice:
            words = f"The voice cannot change any more: '{old.voice}' has already been heard."
            raise ProtocolError("cannot_update_voice", words, "session.audio.output.voice")
        self.settings = new
        if new.video is None:
            self._clear_camera()
        if new.input_format != old.input_format:
            self._hearing.finish()
            self._hearing.begin(new.input_format)
        if (new.turn_detection is None) != (old.turn_detection is None):
            self._drop_speech()
        self._send(events.session_updated(self.to_json()))

    def _create_item(self, fields: Fields, previous_item_id: str | None, media: Media) -> None:
        self._conversation.check_room(self._limits)
        item = read_item(fields, self._new_id("item"), self.settings.input_format, self._limits, media)
        self._conversation.check_unheard(sum(part.samples for part in item.parts), self._limits)
        if media.missing:
            return
        self._conversation.check_unseen(item.unseen_files, self._limits)
        if item.role == "user" and previous_item_id is None and not item.unseen_files:
            self._glimpses.show(item, self._busy_ms)
        previous = self._conversation.add(item, previous_item_id)
        self._send(*events.item_complete(item.to_json(), previous))

    def _delete(self, item_id: str) -> None:
        unfinished = self._works.cancel(item_id)
        item = self._conversation.delete(item_id)
        if not unfinished and item.attachment_id is not None:
            self._do(ForgetAttachment(item.attachment_id))
        self._glimpses.forget(item_id)
        self._send(events.item_deleted(item_id))

    def _cancel(self, response_id: str | None) -> None:
        for reply in self._requests.live_replies:
            if reply.id == response_id or (response_id is None and reply is self._active):
                self._cancel_reply(reply, "client_cancelled")
                return
        raise ProtocolError("response_cancel_not_active", "There is no response to cancel.", "response_id")

    def _clear_output(self) -> None:
        if not self._paced:
            raise ProtocolError("unsupported", "There is an output audio buffer only over WebRTC.", "type")
        self._playback.clear(self._now_ms)

    # The microphone

    def _speech_began(self, now_ms: float) -> None:
        self._busy_ms = now_ms
        self._speech_item_id, self._speech_end = self._new_id("item"), None
        self._turn_event(turns.Event.SPEECH_BEGAN)
        self._look_ahead(now_ms)

    def _speech_ended(self, ended: SpeechEnded, now_ms: float) -> None:
        self._busy_ms = now_ms
        end = min(ended.sample + ms_to_samples(KEPT_SILENCE_MS), ended.sure_at)
        self._speech_end = SpeechEnd(ended.sample, samples_to_ms(ended.sure_at - ended.sample), now_ms)
        self._send(events.speech_stopped(self._speech_item_id, samples_to_ms(end)))
        try:
            self._turn_event(turns.Event.SPEECH_ENDED, end)
        except ProtocolError as failure:
            self._send(events.error(failure, None))
        self._eager.withdraw()
        self._transcribe_what_waits()

    def _drop_speech(self) -> None:
        """What has been said does not become a turn by itself."""
        self._eager.withdraw()
        if self._turn in (*turns.SPEAKS, *turns.DOUBTS):
            self._turn_event(turns.Event.SPEECH_DROPPED)
            self._glimpses.drop()
        self._hearing.listen_afresh()

    def _commit_by_hand(self) -> None:
        self._hearing.finish()
        self._hearing.check_commit()
        announced = self._turn in turns.SPEAKS
        item_id = self._speech_item_id if announced else self._new_id("item")
        self._drop_speech()
        self._commit(item_id, self._hearing.take_all())

    def _commit(self, item_id: str, pcm: np.ndarray) -> None:
        item = self._spoken_item(item_id, pcm)
        self._glimpses.show(item, self._busy_ms)
        previous = self._conversation.add(item)
        self._send(events.audio_committed(item_id, previous))
        self._send(*events.item_complete(item.to_json(), previous))
        if self.settings.transcription is not None:
            self._transcriptions.expect(item)

    def _spoken_item(self, item_id: str, pcm: np.ndarray) -> Item:
        self._conversation.check_room(self._limits)
        self._conversation.check_unheard(len(pcm), self._limits)
        return Item(item_id, role="user", parts=[Part("input_audio", speech=pcm, samples=len(pcm))])

    def _clear(self) -> None:
        self._hearing.finish()
        self._drop_speech()
        self._hearing.clear()
        self._send(events.audio_cleared())

    # Before the turn is over

    def _read_ahead(self) -> None:
        """Let the model hear what is being said, so that little is left to read when it has been said."""
        overheard = self._hearing.overhear() if self._abilities.overhears else None
        if overheard is None:
            return
        said, pcm = overheard
        turns_before: tuple[Turn, ...] = ()
        instructions = ""
        if said == 0:
            turns_before = shown_of([*self._conversation, *self._glimpses.items])[1]
            instructions = instructions_of(self._conversation, self.settings.instructions)
        self._do(ReadAhead(Overheard(self.id, self._speech_item_id, said, pcm, turns_before, instructions)))

    def _answer_eagerly(self, now_ms: float) -> None:
        """The turn may be over: have it answered as if it were."""
        detection, pcm = self.settings.turn_detection, self._hearing.so_far()
        if detection is None or not detection.create_response or pcm is None:
            return
        try:
            asked = self._spoken_item(self._speech_item_id, pcm)
        except ProtocolError:  # it will be told of when the turn is over
            return
        self._glimpses.look(asked, now_ms)
        items = [*self._conversation, *self._glimpses.items, asked]
        request = self._requests.request(items, shown_of(items)[1], ResponseSettings.of(self.settings), self.settings)
        self._eager.start(request)

    # The camera

    def _append_image(self, fields: Fields, event_id: str | None, now_ms: float) -> None:
        if "image" not in self._abilities.takes:
            raise ProtocolError("unsupported", "This model does not take pictures.", "type")
        file = read_file(fields, "image", "image_url", self._limits.picture_bytes)
        if self.frame_is_due(now_ms):
            self._do(DecodeFrame(file, event_id))

    def _clear_camera(self) -> None:
        self._camera.clear()
        self._glimpses.drop()

    def _look_ahead(self, now_ms: float) -> None:
        """The user has begun to speak: let the model see what is new before he ends."""
        self._glimpses.look_ahead(now_ms)
        glimpse = self._glimpses.glimpse
        if glimpse is None or glimpse.sent or self._worker_is_busy or len(self._conversation) >= self._limits.items:
            return
        glimpse.sent = True
        instructions = instructions_of(self._conversation, self.settings.instructions)
        self._requests.prepare([*self._conversation, glimpse.item], instructions)

    # Turns

    def _turn_event(self, event: turns.Event, end: int = 0) -> None:
        """`end`: where the speech ends that an event commits."""
        detection = self.settings.turn_detection
        policy = (
            turns.Policy(create_response=False, interrupt_response=False)
            if detection is None
            else turns.Policy(detection.create_response, detection.interrupt_response)
        )
        self._turn, actions = turns.step(self._turn, event, policy)
        for action in actions:
            match action:
                case turns.Action.PAUSE:
                    if self._pauses:
                        self._playback.pause(self._now_ms)
                case turns.Action.RESUME:
                    self._playback.resume(self._now_ms)
                case turns.Action.ANNOUNCE_SPEECH:
                    self._send(events.speech_started(self._speech_item_id, samples_to_ms(self._hearing.speech_start)))
                case turns.Action.INTERRUPT:
                    self._interrupt()
                case turns.Action.COMMIT:
                    self._commit(self._speech_item_id, self._hearing.take(end))
                case turns.Action.REPLY:
                    self._respond_to_turn()

    @property
    def _paced(self) -> bool:
        return self._playback.paced

    @property
    def _pauses(self) -> bool:
        """Whether the sound can be held."""
        return self._paced or self.settings.pauses_playback

    def _may_doubt(self, now_ms: float) -> bool:
        """Whether it takes more than a cough to be heard: a reply sounds that speech would interrupt."""
        detection = self.settings.turn_detection
        interrupts = detection is not None and detection.interrupt_response and self._turn in turns.DOUBTFUL
        return interrupts and self._playback.sounds(now_ms)

    def _interrupt(self) -> None:
        """Stop the sound before anything else, then the making of it."""
        self._playback.interrupt(self._now_ms)
        if self._active is not None:
            self._cancel_reply(self._active, "turn_detected")

    # Responses

    def _respond_to_turn(self) -> None:
        if self._resumption.lost:
            self._resumption.owed = ResponseSettings.of(self.settings)
            return
        self._respond_unasked(ResponseSettings.of(self.settings))

    def _respond_unasked(self, settings: ResponseSettings) -> None:
        """By no event of the client."""
        try:
            self._respond(settings, Media(self._abilities.takes, self._limits))
        except ProtocolError as failure:  # what was to be answered has been deleted meanwhile
            self._send(events.error(failure, None))

    def _respond(self, settings: ResponseSettings, media: Media) -> None:
        if settings.in_conversation and self._active is not None:
            words = f"Response '{self._active.id}' is still being made; wait for its end or cancel it first."
            raise ProtocolError("conversation_already_has_active_response", words)
        items = list(self._conversation)
        if settings.input is not None:
            wire = self.settings.input_format
            items = read_input(settings.input, self._conversation, self._new_id, wire, self._limits, media)
        if media.missing:
            return
        said, shown = shown_of(items)
        instructions = settings.instructions
        asked = said[-1] if said and said[-1].role == "user" else None
        if asked is None:
            if not settings.instructions_given:
                words = "There is nothing to answer: the conversation does not end with a message of the user."
                raise ProtocolError("nothing_to_answer", words)
            # "Greet the user": without a question, the instructions are what is asked.
            shown, instructions = (*shown, Turn("user", instructions)), self.settings.instructions

        request = self._requests.request(items, shown, settings, self.settings, instructions)
        eager = self._eager.take_over(request) if settings.in_conversation else None
        request = request if eager is None else eager.request
        response_id = request.response_id
        conversation = self._conversation if settings.in_conversation else None
        conversation_id = self._conversation_id if settings.in_conversation else None
        reply = Reply(response_id, self._new_id("item"), settings, conversation, conversation_id, not self._paced)
        self._requests.add(request, reply, asked, said)
        self._send(reply.created())
        if eager is None:
            self._do(StartResponse(request))
        if settings.in_conversation:
            if self._speech_end is not None and asked is not None and asked.id == self._speech_item_id:
                self._latency.begin(response_id, reply.item.id, self._speech_end)
                self._speech_end = None
            self._active = reply
            self._turn_event(turns.Event.REPLY_BEGAN)
        for output, came_ms in eager.outputs if eager is not None else ():
            self._receive_output(output, came_ms, self._busy_ms)

    def _reply_text(self, reply: Reply, text: str, came_ms: float) -> None:
        self._latency.passed(reply.id, milestones.FIRST_TOKEN, came_ms)
        self._send(*reply.text(text))

    def _reply_speech(self, reply: Reply, pcm: np.ndarray, came_ms: float, now_ms: float) -> None:
        self._latency.passed(reply.id, milestones.FIRST_AUDIO, came_ms)
        self._send(*reply.speech(pcm))
        self._playback.play(reply, pcm, now_ms)

    def _finished(self, running: Running, output: Finished) -> None:
        self._requests.end(output.response_id)
        running.settle(output.user_tokens)
        reply = running.reply
        if reply is None:
            return
        if output.text == reply.item.text:  # a cancelled one may have gone on for a while unheard
            reply.item.settle(output.assistant_tokens)
        if reply.in_conversation:
            self._conversation.compact(self._limits.history_tokens)
        if reply.ended:
            return
        if output.reason == "max_output_tokens":
            self._end_reply(reply, "incomplete", {"type": "incomplete", "reason": output.reason}, output)
        elif output.reason == "cancelled":  # by the worker, which nobody asked to
            self._end_reply(reply, "cancelled", {"type": "cancelled", "reason": "client_cancelled"}, output)
        else:
            self._end_reply(reply, "completed", None, output)

    def _failed(self, running: Running, output: Failed) -> None:
        self._requests.end(output.response_id)
        reply = running.live_reply
        if reply is not None and output.code == "worker_restarted":
            self._send(events.session_interrupted(output.code))
        if running.asked is not None:
            self._send(*self._transcriptions.failed(running.asked, output.code, output.message))
        if reply is not None:
            failure = {"type": "server_error", "code": output.code, "message": output.message}
            self._end_reply(reply, "failed", {"type": "failed", "error": failure})

    def _cancel_reply(self, reply: Reply, reason: str) -> None:
        """The client hears of the end now; the worker's own end of it comes later and only settles the tokens."""
        self._do(CancelResponse(reply.id))
        self._end_reply(reply, "cancelled", {"type": "cancelled", "reason": reason})

    def _end_reply(self, reply: Reply, status: Status, details: Json | None, output: Finished | None = None) -> None:
        """output: of the worker, which has made all of it."""
        self._send(*reply.end(status, details, None if output is None else output.usage))
        self._playback.finish(reply.id)
        self._send(events.rate_limits_updated(self._limits.events_per_second))
        self._do(ReportReply(status, {} if output is None else output.milestones_ms))
        self._latency.end(reply.id)
        if reply is self._active:
            self._active = None
            self._turn_event(turns.Event.REPLY_ENDED)

    # Attachments

    def _receive_attachment(self, output: AttachmentOutput, now_ms: float) -> None:
        if isinstance(output, AttachmentStarted):
            self._start_work(output)
        elif self._works.receive(output, now_ms):
            self._busy_ms = now_ms

    def _start_work(self, output: AttachmentStarted) -> None:
        running = self._requests.get(output.response_id)
        reply = running.reply if running is not None else None
        if running is None or reply is None or reply.status == "cancelled" or not reply.in_conversation:
            self._works.refuse(output)
        else:
            item = self._works.start(output, running.last_work_id or reply.last_id)
            if item is not None:
                running.last_work_id = item.id

    def receive_kept(self, attachment_id: str, kept: Kept | ProtocolError) -> None:
        """What came of KeepAttachment."""
        self._works.receive_kept(attachment_id, kept)

    # A lost connection

    def _connected(self, now_ms: float) -> None:
        self._now_ms = self._busy_ms = now_ms
        self._hearing.connect(now_ms)
        self._resumption.renew()

    def _break_off(self, reply: Reply) -> None:
        """Of sound that goes in events counts as heard what was sent; a playout will report."""
        sent_ms = samples_to_ms(reply.samples)
        self._cancel_reply(reply, "client_cancelled")
        if reply.in_conversation:
            self._resumption.owed = self._resumption.owed or reply.settings
            expect_whole_sound(reply.item)
            if not self._playback.awaits_report(reply.id):
                self._cut(reply.item, sent_ms)

    def _cut(self, item: Item, heard_ms: float) -> None:
        """So much of an answer was heard at most. One of which that is no word has not been given."""
        if not self._conversation.has(item.id):
            return
        self._playback.cut(item, heard_ms)
        if item.text == "":
            self._conversation.delete(item.id)
            self._send(events.item_deleted(item.id))
            self._resumption.owed = self._resumption.owed or ResponseSettings.of(self.settings)
        elif self._resumption.owed is not None and self._resumption.owed.instructions_given:
            self._resumption.owed = None

    def _answer_what_is_owed(self) -> None:
        """Unless the user has heard some of the answer."""
        owed, self._resumption.owed = self._resumption.owed, None
        said, _ = shown_of(self._conversation)
        if owed is None or not (owed.instructions_given or (said and said[-1].role == "user")):
            return
        self._respond_unasked(owed)

    # Transcription

    def _transcribed(self, running: Running, text: str, done: bool = False) -> None:
        running.transcript = text
        if running.asked is not None:
            self._send(*self._transcriptions.heard(running.asked, text, done))

    def _transcribe_what_waits(self) -> None:
        """Only when the worker does nothing else for the conversation: an answer would bring the transcript too."""
        if self._worker_is_busy:
            return
        item = self._transcriptions.next(self._conversation)
        if item is not None:
            self._requests.transcribe(item, self._conversation.until(item), self.settings.instructions)

    # Endings

    @property
    def _worker_is_busy(self) -> bool:
        """With this conversation."""
        return self._eager.waiting or self._requests.busy

    def _expire(self, code: str, words: str) -> None:
        if not self.closed:
            self.closed = True
            self._send(events.error(ProtocolError(code, words), None))
            self._do(CloseSession(1000, words))
