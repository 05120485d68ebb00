/** A link that polls: how often it asks, and what it makes of the answers. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { settle } from "./clock.js";
import { seeded } from "./random.js";
import { INTERVAL, PER_POLL, PER_SOCKET, World } from "./world.js";

const MINUTE = 60_000;

test("polls come every interval, somewhat apart, and less often while nothing is under way", async () => {
  const world = new World({ random: seeded(4) });
  await world.giveUp();
  const asked = await world.asksWithin(MINUTE);
  assert(asked >= 30 && asked <= 38, `${asked}`);
  world.isResting = true;
  const resting = await world.asksWithin(MINUTE);
  assert(resting >= 15 && resting <= 19, `${resting}`);
});

test("pages of a crowd that come back poll less often, and as usual once they have given up their sockets", async () => {
  const world = new World({ random: seeded(4) });
  world.goLive();
  world.link.sockets = 10_000;
  world.socket.break();
  await world.pass(10_000 * PER_SOCKET);
  world.questions.length = 0;
  while (world.status !== "polling") {
    assert((await world.asksWithin(10_000 * PER_POLL)) <= 2);
    world.sockets.at(-1)?.break();
  }
  const asked = await world.asksWithin(MINUTE);
  assert(asked >= 30, `${asked}`);
});

test("a link without attempts opens no socket, whatever happens", async () => {
  const world = new World({ attempts: 0 });
  world.connect();
  await world.pass(MINUTE);
  world.answer = "failed";
  await world.pass(MINUTE);
  world.answer = "answered";
  await world.pass(MINUTE);
  assert.equal(world.sockets.length, 0);
  assert.equal(world.status, "polling");
  assert(world.questions.length > 40, `${world.questions.length}`);
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
  while (world.status !== "polling") await world.pass(100);
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
  assert.equal(await world.link.fetchState(), "failed");
  assert.equal(world.status, "live");
});

test("a question that cannot be asked is one that failed", async () => {
  const world = new World();
  const link = world.link;
  world.connect();
  world.answer = null;
  const asked = link.fetchState();
  world.openQuestions.at(-1)?.fail(new TypeError("no network"));
  assert.equal(await asked, "failed");
  assert.equal(world.status, "offline");
});
