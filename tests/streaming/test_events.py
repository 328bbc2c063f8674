from __future__ import annotations

import pytest

from streaming import events
from streaming.fields import Fields, ProtocolError


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('{"type": "input_audio_buffer.append", "audio": "AAEC"}', events.AppendAudio(b"\x00\x01\x02")),
        ('{"type": "input_audio_buffer.append", "audio": ""}', events.AppendAudio(b"")),
        ('{"type": "input_audio_buffer.commit", "event_id": "x"}', events.CommitAudio()),
        ('{"type": "input_audio_buffer.clear"}', events.ClearAudio()),
        ('{"type": "output_audio_buffer.clear"}', events.ClearOutputAudio()),
        ('{"type": "conversation.item.retrieve", "item_id": "a"}', events.RetrieveItem("a")),
        ('{"type": "conversation.item.delete", "item_id": "a"}', events.DeleteItem("a")),
        ('{"type": "response.cancel"}', events.CancelResponse(None)),
        ('{"type": "response.cancel", "response_id": "r"}', events.CancelResponse("r")),
        (
            '{"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": 12.7}',
            events.TruncateItem("a", 0, 12),
        ),
    ],
)
def test_client_events(message, expected):
    assert events.parse(events.read_message(message)) == expected


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ('{"type": "conversation.item.truncate", "item_id": "a", "audio_end_ms": 1}', "content_index"),
        ('{"type": "conversation.item.truncate", "item_id": "a", "content_index": 0}', "audio_end_ms"),
        (
            '{"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": -1}',
            "audio_end_ms",
        ),
        (
            '{"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": NaN}',
            "audio_end_ms",
        ),
        ('{"type": "conversation.item.retrieve", "item_id": 5}', "item_id"),
        ('{"type": "conversation.item.create", "item": 5}', "item"),
        ('{"type": "response.cancel", "response_id": {}}', "response_id"),
    ],
)
def test_a_wrong_field_is_named(message, param):
    with pytest.raises(ProtocolError) as failure:
        events.parse(events.read_message(message))
    assert failure.value.param == param


def test_fields_say_where_they_are():
    fields = Fields({"a": {"b": [{"c": 1}], "d": "x" * 11}}, "session")
    with pytest.raises(ProtocolError, match=r"'session\.a\.b' must be a string"):
        fields.object("a").text("b")
    with pytest.raises(ProtocolError, match="11 characters; at most 10"):
        fields.object("a").text("d", most=10)
    with pytest.raises(ProtocolError, match=r"Missing required parameter: 'session\.a\.z'"):
        fields.object("a").flag("z")
    with pytest.raises(ProtocolError, match=r"Unknown parameter: 'session\.a'"):
        fields = Fields({"a": 1}, "session")
        fields.no_others()


def test_a_whole_number_is_no_flag_and_a_flag_no_number():
    fields = Fields({"one": 1, "yes": True})
    with pytest.raises(ProtocolError):
        fields.flag("one")
    with pytest.raises(ProtocolError):
        fields.number("yes", 0, 1)


def test_null_is_absent_unless_null_is_a_value():
    fields = Fields({"a": None})
    assert fields.text("a", "default") == "default"
    assert fields.is_null("a") and not fields.is_null("b")
