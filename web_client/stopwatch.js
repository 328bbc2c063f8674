// Measures when an answer can be heard here, and joins that to the milestones that the server tells of it.

export class Stopwatch {
  turn = null; // the user's last one, until the response to it is named
  turns = new Map(); // by response

  // `nextSound()` resolves to when the next sound began, by performance.now(), or to null. `show(item, milestones)` and
  // `report(response, ms)` are called with what is known.
  constructor({ nextSound, show, report }) {
    Object.assign(this, { nextSound, show, report });
  }

  // The server is sure that the user has ended.
  speechStopped() {
    this.turn = { stoppedAt: performance.now(), heardAt: this.nextSound() };
  }

  answering(response) {
    if (this.turn) this.turns.set(response, this.turn);
    this.turn = null;
  }

  // All that the server knows of an answer's milestones.
  async told({ response_id: response, item_id: item, stages }) {
    this.show(item, stages);
    const turn = this.turns.get(response);
    this.turns.delete(response);
    const heardAt = await turn?.heardAt;
    if (heardAt == null) return;
    // The end of speech is known by the server's clock alone, and the arrival of its word by ours alone. What delayed
    // that word is missing here, but no sound is heard before it is sent.
    const measured = stages.end_of_speech_ms + heardAt - turn.stoppedAt;
    const firstSound = Math.round(10 * Math.max(measured, stages.first_packet_ms)) / 10;
    this.show(item, { ...stages, first_sound_ms: firstSound });
    this.report(response, firstSound);
  }
}
