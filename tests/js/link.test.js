/** A link and its server lose each other in every way they can. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { settle } from "./clock.js";
import { seeded } from "./random.js";
import { ATTEMPTS, FULL, INTERVAL, MISSING, SILENCE, World } from "./world.js";

const MINUTE = 60_000;

// --- Sockets come first ------------------------------------------------------------------------------------------------

test("a socket that speaks is all there is", async () => {
  const world = new World();
  world.goLive();
  for (let second = 0; second < 60; second += 5) {
    await world.pass(5_000);
    world.socket.say();
  }
  assert.equal(world.sockets.length, 1);
  assert.equal(world.questions.length, 0);
  assert.equal(world.status, "live");
  assert.equal(world.messages.length, 13);
});

test("an open socket that says nothing is not live, and is bridged by asking within two seconds", async () => {
  for (const random of [() => 0, () => 0.999]) {
    const world = new World({ random });
    world.connect();
    await world.pass(INTERVAL / 2 - 1);
    assert.equal(world.questions.length, 0);
    await world.pass(INTERVAL / 2 + 1);
    assert.equal(world.questions.length, 1);
    assert.equal(world.state, "connecting");
    assert.equal(world.status, "connecting");
  }
});

test("a socket that says nothing within six seconds is a failed attempt", async () => {
  const world = new World();
  world.connect();
  await world.pass(5_999);
  assert.equal(world.state, "connecting");
  await world.pass(1);
  assert.equal(world.state, "retrying");
  assert.equal(world.status, "reconnecting");
  assert(world.socket.isClosed);
});

test("the first message ends asking", async () => {
  const world = new World();
  world.connect();
  await world.pass(5_000);
  assert(world.questions.length > 1);
  world.socket.say();
  assert.equal(await world.asksWithin(10_000), 0);
});

// --- A socket is lost --------------------------------------------------------------------------------------------------

test("fifteen seconds of silence are a disconnect, and the link asks at once", async () => {
  const world = new World();
  world.goLive();
  await world.pass(10_000);
  world.socket.say();
  await world.pass(SILENCE - 1);
  assert.equal(world.state, "live");
  world.answer = null;
  await world.pass(1);
  assert.equal(world.state, "retrying");
  assert(world.socket.isClosed);
  assert.equal(world.openQuestions.length, 1);
});

test("a lost socket is bridged by asking within two seconds, also while others are tried in vain", async () => {
  for (const seed of [1, 2, 3]) {
    const world = new World({ random: seeded(seed) });
    world.goLive();
    const lostAt = world.clock.now();
    world.socket.break();
    while (world.questions.length === 0) {
      if (world.state === "connecting") world.socket.break();
      await world.pass(50);
    }
    assert((world.questions[0]?.at ?? Infinity) - lostAt <= INTERVAL);
  }
});

test("five attempts with full jitter, then one each thirty seconds beside polling", async () => {
  /** @type {number[][]} the waits between attempts, by what is drawn */
  const waits = [];
  for (const random of [() => 0.001, () => 0.999]) {
    const world = new World({ random });
    world.connect();
    const waited = [];
    for (let attempt = 1; attempt <= 7; attempt += 1) {
      assert.equal(world.sockets.length, attempt);
      const closedAt = world.clock.now();
      world.socket.break();
      assert.equal(world.state, attempt < ATTEMPTS ? "retrying" : "polling");
      while (world.sockets.length === attempt) await world.pass(500);
      waited.push(world.socket.at - closedAt);
    }
    waits.push(waited);
  }
  const [shortest = [], longest = []] = waits;
  assert(shortest.slice(0, 4).every((wait) => wait <= 8), `${shortest}`);
  assert.deepEqual(longest.slice(0, 4), [999, 1_998, 3_996, 7_992]);
  assert(shortest.slice(4).every((wait) => wait >= 24_000 && wait < 24_100), `${shortest}`);
  assert(longest.slice(4).every((wait) => wait > 29_900 && wait <= 30_000), `${longest}`);
});

test("a link that polls goes back to a socket that speaks", async () => {
  const world = new World();
  await world.giveUp();
  assert.equal(world.status, "asking");
  assert(world.sockets.length === ATTEMPTS);
  assert((await world.asksWithin(10_000)) >= 4);
  while (world.openSockets.length === 0) await world.pass(1_000);
  world.socket.say();
  assert.equal(world.state, "live");
  assert.equal(world.status, "live");
  assert.equal(await world.asksWithin(10_000), 0);
  world.socket.break(); // and the attempts begin anew
  assert.equal(world.state, "retrying");
});

test("a server that takes no more sockets is polled at once", () => {
  const world = new World();
  world.answer = null;
  world.connect();
  world.socket.break(FULL);
  assert.equal(world.state, "polling");
  assert.equal(world.status, "asking");
  assert.equal(world.openQuestions.length, 1);
});

test("what a socket says after it was left is ignored", async () => {
  const world = new World();
  world.goLive();
  const { socket } = world;
  world.link.stop();
  world.connect();
  socket.say("late");
  socket.break();
  assert.equal(world.state, "connecting");
  assert.deepEqual(world.messages, ["news"]);
});

// --- Polling -----------------------------------------------------------------------------------------------------------

test("polls come every interval, somewhat apart, and less often while nothing is under way", async () => {
  const world = new World({ random: seeded(4) });
  await world.giveUp();
  const asked = await world.asksWithin(MINUTE);
  assert(asked >= 30 && asked <= 38, `${asked}`);
  world.isResting = true;
  const resting = await world.asksWithin(MINUTE);
  assert(resting >= 15 && resting <= 19, `${resting}`);
});

test("a server that answers errors is asked ever less often, and the page says since when", async () => {
  const world = new World();
  world.answer = "failed";
  await world.giveUp();
  const first = await world.asksWithin(MINUTE);
  const later = await world.asksWithin(MINUTE);
  assert(first <= 7 && later >= 2 && later <= 3, `${first}, ${later}`);
  assert.equal(world.status, "offline");
});

test("once the server is back, waits of earlier failures end and its socket is tried within six seconds", async () => {
  const world = new World();
  world.answer = "failed";
  await world.giveUp();
  await world.pass(MINUTE);
  world.answer = "answered";
  const tried = world.sockets.length;
  while (world.status !== "asking") await world.pass(100);
  assert.equal(world.reachable, 1);
  if (world.openSockets.length === 0) {
    await world.pass(6_000);
    assert(world.sockets.length > tried);
  }
});

test("the late answer to a poller that was ended makes no second one", async () => {
  const world = new World();
  world.answer = null;
  world.connect();
  await world.pass(INTERVAL);
  const [late] = world.openQuestions;
  world.socket.say();
  world.socket.break();
  await world.pass(INTERVAL);
  assert.equal(world.openQuestions.length, 2);
  late?.give("missing"); // of which nothing is believed either
  await settle();
  assert.equal(world.openQuestions.length, 1);
  world.answer = "answered";
  world.openQuestions[0]?.give("answered");
  const asked = await world.asksWithin(5_000);
  assert(asked <= 3, `${asked}`);
});

test("failures of a poller are forgotten when a socket speaks", async () => {
  const world = new World();
  world.answer = "failed";
  await world.giveUp();
  while (world.openSockets.length === 0) await world.pass(1_000);
  world.socket.say();
  world.answer = "answered";
  const { reachable } = world;
  world.socket.break();
  assert.equal(world.status, "reconnecting");
  await world.pass(INTERVAL);
  assert.equal(world.reachable, reachable);
});

test("a question that fails while a socket speaks is no news", async () => {
  const world = new World();
  world.goLive();
  world.answer = "failed";
  assert.equal(await world.link.ask(), "failed");
  assert.equal(world.status, "live");
});

test("a question that cannot be asked is one that failed", async () => {
  const world = new World();
  const link = world.link;
  world.connect();
  world.answer = null;
  const asked = link.ask();
  world.openQuestions.at(-1)?.fail(new TypeError("no network"));
  assert.equal(await asked, "failed");
  assert.equal(world.status, "offline");
});

// --- What is watched is gone -------------------------------------------------------------------------------------------

test("a socket that is denied is verified, and what is gone is looked for ever less often", async () => {
  const world = new World({ random: () => 0.999 });
  await world.beGone();
  assert.equal(world.state, "gone");
  assert.equal(world.status, "gone");
  assert.equal(world.openSockets.length, 0);
  world.answer = "missing";
  assert.equal(await world.asksWithin(2_000), 1);
  assert.equal(await world.asksWithin(4_000), 1);
  assert.equal(await world.asksWithin(8_000), 1);
  assert.equal(await world.asksWithin(16_000), 1);
  assert.equal(await world.asksWithin(30_000), 1);
  assert.equal(await world.asksWithin(30_000), 1);
});

test("what comes back is followed by a socket again", async () => {
  const world = new World();
  world.goLive();
  world.answer = "missing";
  world.link.suspect();
  await settle();
  assert.equal(world.state, "gone");
  const { reachable } = world;
  world.answer = "answered";
  await world.pass(2_000);
  assert.equal(world.status, "reconnecting");
  assert.equal(world.reachable, reachable + 1);
  await world.pass(3_000);
  assert.equal(world.state, "connecting");
  world.socket.say();
  assert.equal(world.state, "live");
});

test("what was gone, came back and is gone again is looked for as soon as the first time", async () => {
  const world = new World();
  await world.beGone();
  world.answer = "missing";
  await world.pass(60_000);
  world.answer = "answered";
  await world.pass(30_000);
  assert.equal(world.state, "connecting");
  world.socket.say();
  world.answer = "missing";
  world.link.suspect();
  await settle();
  assert.equal(await world.asksWithin(2_000), 1);
});

test("a poll that says that it is gone ends polling, until a look or a lost socket says otherwise", async () => {
  const world = new World({ random: () => 0.999 });
  world.answer = null;
  world.connect();
  for (let attempt = 1; attempt <= 2; attempt += 1) {
    world.socket.break();
    await world.pass(2_000);
  }
  assert.equal(world.state, "connecting");
  world.openQuestions[0]?.give("missing");
  await settle();
  assert.equal(world.openQuestions.length, 1); // the look
  assert.equal(await world.asksWithin(3_000), 0);
  world.socket.break(); // the next one is tried later than the first question
  assert.equal(await world.asksWithin(INTERVAL), 1);
});

test("a denial that a look does not confirm is a lost socket", async () => {
  const world = new World();
  world.goLive();
  world.socket.break(MISSING);
  await settle();
  assert.equal(world.state, "retrying");
  assert.equal(world.status, "reconnecting");
});

test("one wrong answer ends neither polling nor a socket that speaks", async () => {
  const world = new World();
  world.goLive();
  world.link.suspect();
  await settle();
  assert.equal(world.state, "live");
  assert.equal(world.openSockets.length, 1);
  await world.loseAll();
  world.answer = null;
  await world.pass(INTERVAL);
  world.openQuestions.at(-1)?.give("missing");
  world.answer = "answered";
  assert((await world.asksWithin(10_000)) >= 4);
  assert.equal(world.state, "polling");
});

test("a link that polls learns by a poll or by a socket that what is watched is gone", async () => {
  for (const how of ["poll", "socket"]) {
    const world = new World();
    await world.giveUp();
    if (how === "socket") while (world.openSockets.length === 0) await world.pass(1_000);
    world.answer = "missing";
    if (how === "socket") world.socket.break(MISSING);
    else await world.pass(INTERVAL);
    await settle();
    assert.equal(world.state, "gone");
    assert.equal(world.status, "gone");
    assert.equal(world.openSockets.length, 0);
    world.answer = "answered";
    await world.pass(2_000);
    assert.equal(world.state, "polling");
    assert.equal(world.status, "asking");
    assert((await world.asksWithin(5_000)) >= 2);
  }
});

test("a poll whose answer is missing waits for the look, and goes on after it", async () => {
  const world = new World();
  await world.giveUp();
  world.answer = null;
  await world.pass(INTERVAL);
  world.openQuestions[0]?.give("missing");
  await settle();
  assert.equal(await world.asksWithin(10_000), 0);
  world.answer = "answered";
  world.openQuestions[0]?.give("answered");
  assert((await world.asksWithin(10_000)) >= 4);
});

test("a look that fails is a lost socket: the link asks and tries again", async () => {
  const world = new World();
  await world.beGone();
  world.answer = "failed";
  await world.pass(2_000);
  assert.equal(world.status, "reconnecting");
  const asked = world.questions.length;
  await world.pass(INTERVAL);
  assert(world.questions.length > asked);
});

test("while one look is under way, no other is begun", async () => {
  const world = new World();
  world.goLive();
  world.answer = null;
  world.link.suspect();
  world.link.suspect();
  world.socket.break(MISSING);
  assert.equal(world.openQuestions.length, 1);
  world.openQuestions[0]?.give("missing");
  await settle();
  assert.equal(world.state, "gone");
  assert.equal(world.clock.pending, 1);
});

// --- Here and away -----------------------------------------------------------------------------------------------------

test("a link that is stopped does nothing at all", async () => {
  for (const state of /** @type {const} */ (["connecting", "live", "retrying", "polling", "gone"])) {
    const world = new World();
    await world.enter(state);
    world.link.stop();
    const tried = world.sockets.length;
    assert.equal(world.clock.pending, 0);
    assert.equal(world.openSockets.length, 0);
    assert.equal(await world.asksWithin(10 * MINUTE), 0);
    assert.equal(world.sockets.length, tried);
    world.link.suspect();
    world.link.readdress();
    await world.link.verifyConnection();
    assert.equal(world.state, "idle");
    assert.equal(world.clock.pending, 0);
  }
});

test("an answer that comes after a stop changes nothing", async () => {
  const world = new World();
  world.goLive();
  world.answer = null;
  world.link.suspect();
  const [question] = world.openQuestions;
  world.link.stop();
  world.connect();
  question?.give("missing");
  await settle();
  assert.equal(world.state, "connecting");
  void world.link.ask();
  const [another] = world.openQuestions;
  world.link.stop();
  another?.give("failed");
  await settle();
  assert.equal(world.status, "live");
});

test("a look that was begun before a stop does not end the one after it", async () => {
  const world = new World();
  await world.beGone();
  world.answer = null;
  await world.pass(2_000);
  const [first] = world.openQuestions;
  world.link.stop();
  world.link.start({ isStale: true });
  first?.give("answered");
  await settle();
  assert.equal(world.state, "gone");
  assert.equal(world.openQuestions.length, 1);
});

test("a page that is come back to asks and connects at once", async () => {
  const world = new World();
  world.goLive();
  world.link.stop();
  await world.pass(MINUTE);
  world.link.start({ isStale: true });
  assert.equal(world.questions.length, 1);
  assert.equal(world.openSockets.length, 1);
  world.link.start({ isStale: true }); // which it is already
  assert.equal(world.questions.length, 1);
  assert.equal(world.sockets.length, 2);
});

test("a page that has polled goes on polling when it is come back to, and tries a socket at once", async () => {
  const world = new World();
  await world.giveUp();
  world.link.stop();
  await world.pass(MINUTE);
  const tried = world.sockets.length;
  const asked = world.questions.length;
  world.link.start({ isStale: true });
  assert.equal(world.state, "polling");
  assert.equal(world.questions.length, asked + 1);
  assert.equal(world.sockets.length, tried + 1);
});

test("a page whose dataset was gone looks for it when it is come back to, however often it was stopped", async () => {
  const world = new World();
  await world.beGone();
  world.link.stop();
  world.link.stop();
  world.answer = null;
  world.link.start({ isStale: true });
  assert.equal(world.state, "gone");
  assert.equal(world.openQuestions.length, 1);
  assert.equal(world.openSockets.length, 0);
});

// --- The network and the address ---------------------------------------------------------------------------------------

test("a network that is said to be gone is verified by asking", async () => {
  const world = new World();
  world.goLive();
  await world.link.verifyConnection();
  assert.equal(world.state, "live");
  world.answer = "failed";
  await world.link.verifyConnection();
  assert.equal(world.state, "retrying");
  assert(world.sockets[0]?.isClosed);
  const asked = world.questions.length;
  await world.link.verifyConnection(); // it knows already
  assert.equal(world.questions.length, asked);
});

test("a verification that ends after its socket was lost does not touch the next one", async () => {
  const world = new World();
  world.goLive();
  world.answer = null;
  const verified = world.link.verifyConnection();
  const [question] = world.openQuestions;
  world.socket.break();
  await world.pass(1_000);
  assert.equal(world.state, "connecting");
  question?.give("failed");
  await verified;
  assert.equal(world.state, "connecting");
});

test("a socket whose address has changed is opened anew, and one that is not there is not", async () => {
  const world = new World();
  world.goLive();
  world.link.readdress();
  assert.equal(world.state, "connecting");
  assert.equal(world.sockets.length, 2);
  assert.deepEqual(world.openSockets, [world.socket]);
  assert.equal(world.status, "live"); // a moment without a socket is not worth a word
  await world.loseAll();
  const tried = world.sockets.length;
  world.link.readdress();
  assert.equal(world.sockets.length, tried);
  while (world.openSockets.length === 0) await world.pass(1_000);
  world.link.readdress();
  assert.equal(world.sockets.length, tried + 2);
  assert.deepEqual(world.openSockets, [world.socket]);
});
