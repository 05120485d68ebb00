/** What is watched is gone: it is verified, looked for, and followed again. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { settle } from "./clock.js";
import { INTERVAL, MISSING, World } from "./world.js";

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
  world.link.reportMissing();
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
  world.link.reportMissing();
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
  world.link.reportMissing();
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
    assert.equal(world.status, "polling");
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
  world.link.reportMissing();
  world.link.reportMissing();
  world.socket.break(MISSING);
  assert.equal(world.openQuestions.length, 1);
  world.openQuestions[0]?.give("missing");
  await settle();
  assert.equal(world.state, "gone");
  assert.equal(world.clock.pending, 1);
});
