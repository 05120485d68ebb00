/** Random walks: whatever comes in whatever order, a link has one mechanism at work, and is never stuck. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { settle } from "./clock.js";
import { seeded } from "./random.js";
import { FULL, MISSING, World } from "./world.js";

const WALKS = 60;
const STEPS = 150;

/** @param {World} world @param {() => number} random */
const STEPS_OF = (world, random) => ({
  start: () => world.link.start({ isStale: random() < 0.5 }),
  stop: () => random() < 0.3 && world.link.stop(),
  message: () => world.openSockets[0]?.say(),
  close: () => world.openSockets[0]?.break(),
  deny: () => world.openSockets[0]?.break(MISSING),
  refuse: () => random() < 0.3 && world.openSockets[0]?.break(FULL),
  reportMissing: () => world.link.reportMissing(),
  readdress: () => world.link.readdress(),
  verify: () => void world.link.verifyConnection(),
  answer: () => world.openQuestions[0]?.give("answered"),
  miss: () => world.openQuestions[0]?.give("missing"),
  fail: () => world.openQuestions[0]?.give("failed"),
  answerLate: () => world.questions[Math.floor(random() * world.questions.length)]?.give("answered"),
  wait: () => world.pass(random() * 3_000),
  waitLong: () => world.pass(random() * 40_000),
});

/** How many timers a state may have: for the socket or the next one, and for the next question. */
const TIMERS = { idle: 0, connecting: 2, live: 1, retrying: 2, polling: 2, gone: 1 };

/** @param {World} world @param {string} trace */
function check(world, trace) {
  const sockets = world.openSockets.length;
  assert(sockets <= 1, `${sockets} sockets: ${trace}`);
  assert(world.clock.pending <= TIMERS[world.state], `${world.clock.pending} timers while ${world.state}: ${trace}`);
  const isWaiting = world.clock.pending > 0 || sockets > 0 || world.openQuestions.length > 0;
  if (world.state === "idle") {
    assert(!isWaiting, `idle, and not at rest: ${trace}`);
  } else {
    assert(isWaiting, `stuck while ${world.state}: ${trace}`);
  }
  if (world.state === "live") assert(sockets === 1, `live without a socket: ${trace}`);
  if (world.state === "connecting") assert(sockets === 1, `connecting without a socket: ${trace}`);
  if (world.state === "retrying") assert(sockets === 0, `retrying with a socket: ${trace}`);
  if (world.state === "gone") assert(sockets === 0, `gone with a socket: ${trace}`);
}

test(`${WALKS} random walks keep the invariants, and the server that is back is followed again`, async () => {
  const visited = new Set();
  for (let seed = 1; seed <= WALKS; seed += 1) {
    const random = seeded(seed);
    const world = new World({ random });
    const steps = Object.entries(STEPS_OF(world, random));
    world.answer = null;
    const trace = [`seed ${seed}`];
    for (let step = 0; step < STEPS; step += 1) {
      const [name, act] = steps[Math.floor(random() * steps.length)] ?? ["", () => {}];
      trace.push(name);
      await act();
      await settle();
      visited.add(world.state);
      check(world, trace.slice(-12).join(", "));
    }
    // From here on everything is well.
    world.answer = "answered";
    for (const question of world.openQuestions) question.give("answered");
    world.link.start({ isStale: true });
    for (let second = 0; second < 60 && world.state !== "polling"; second += 1) {
      world.openSockets[0]?.break(FULL);
      await world.pass(1_000);
    }
    await world.pass(30_000);
    const asked = await world.asksWithin(30_000);
    assert(asked >= 14 && asked <= 20, `${asked} questions in half a minute: ${trace.join(", ")}`);
    for (let second = 0; second < 60 && world.state !== "live"; second += 1) {
      await world.pass(1_000);
      world.openSockets[0]?.say();
    }
    assert.equal(world.state, "live", trace.join(", "));
    assert.equal(await world.asksWithin(10_000), 0);
  }
  assert.equal(visited.size, 6);
});

test("a link that starts is never without a look at the state for longer than an interval", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const random = seeded(seed);
    const world = new World({ random });
    world.connect();
    let heardAt = 0;
    for (let step = 0; step < 400; step += 1) {
      if (world.openSockets[0] && random() < 0.2) {
        if (random() < 0.4) world.openSockets[0].say();
        else world.openSockets[0].break();
        if (world.state === "live") heardAt = world.clock.now();
      }
      const asked = world.questions.length;
      await world.pass(100);
      if (world.questions.length > asked || world.state === "live") heardAt = world.clock.now();
      assert(world.clock.now() - heardAt <= 2_100, `seed ${seed}, step ${step}: nothing for ${world.clock.now() - heardAt} ms`);
    }
  }
});
