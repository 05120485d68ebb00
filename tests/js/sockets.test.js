/** Sockets come first; one that is lost is bridged by asking, and tried again. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { seeded } from "./random.js";
import { ATTEMPTS, FULL, INTERVAL, PER_SOCKET, SILENCE, World } from "./world.js";

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
  assert.equal(world.status, "polling");
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
  assert.equal(world.status, "polling");
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

/** When each page of a crowd opens its next socket and asks first, after the server has closed all sockets. */
async function comingBack(/** @type {number} */ sockets) {
  const random = seeded(7);
  const times = [];
  for (let page = 0; page < 200; page += 1) {
    const world = new World({ random });
    world.goLive();
    world.link.sockets = sockets;
    world.socket.break();
    await world.pass(60_000);
    times.push({ socket: world.sockets[1]?.at ?? NaN, question: world.questions[0]?.at ?? NaN });
  }
  return times;
}

test("a crowd comes back over the time that the server takes for it", async () => {
  const times = await comingBack(5_000);
  const sockets = times.map(({ socket }) => socket);
  assert(Math.max(...sockets) <= 5_000 * PER_SOCKET);
  for (let fifth = 0; fifth < 5; fifth += 1) {
    const came = sockets.filter((at) => at >= fifth * 5_000 && at < (fifth + 1) * 5_000).length;
    assert(came > 20 && came < 60, `${came} of 200 in one fifth of the time`);
  }
  const early = times.filter(({ question }) => question < 5_000).length;
  assert(early < 60, `${early} of 200 asked in the first fifth of the time`);
});

test("who is refused in a crowd does not wait again for all of it", async () => {
  const random = seeded(7);
  for (let page = 0; page < 50; page += 1) {
    const world = new World({ random });
    world.goLive();
    world.link.sockets = 5_000;
    world.socket.break();
    while (world.sockets.length === 1) await world.pass(100);
    const refusedAt = world.clock.now();
    world.socket.break();
    while (world.sockets.length === 2) await world.pass(100);
    const waited = world.clock.now() - refusedAt;
    assert(waited >= (5_000 * PER_SOCKET) / 8 && waited <= (5_000 * PER_SOCKET) / 4 + 100, `${waited}`);
  }
});

test("a small crowd comes back as fast as one page", async () => {
  for (const { socket, question } of await comingBack(100)) {
    assert(socket <= 1_000);
    assert(!(question > INTERVAL));
  }
});
