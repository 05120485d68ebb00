/** A link that is stopped and started, whose network is gone, or whose address has changed. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { settle } from "./clock.js";
import { World } from "./world.js";

const MINUTE = 60_000;

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
    world.link.reportMissing();
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
  world.link.reportMissing();
  const [question] = world.openQuestions;
  world.link.stop();
  world.connect();
  question?.give("missing");
  await settle();
  assert.equal(world.state, "connecting");
  void world.link.fetchState();
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
