/** The table of transitions: what it promises as a whole, and that the link does what each row says. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { STATES, TRANSITIONS } from "../../static/js/reconnecting.js";
import { settle } from "./clock.js";
import { FULL, INTERVAL, MISSING, SILENCE, World } from "./world.js";

/** @typedef {import("../../static/js/reconnecting.js").Transition} Transition */

test("every state is reached from idle, and can be stopped", () => {
  const reached = new Set(["idle"]);
  for (const _ of STATES) for (const { from, to } of TRANSITIONS) if (reached.has(from)) reached.add(to);
  assert.deepEqual([...reached].sort(), [...STATES].sort());
  for (const state of STATES) {
    assert.equal(TRANSITIONS.some(({ from, on, to }) => from === state && on === "stop" && to === "idle"), state !== "idle");
  }
});

test("each state answers to these events", () => {
  const socket = ["closed", "denied", "message"];
  const page = ["readdress", "stop", "reported missing"];
  const check = ["absent", "present"];
  const answered = {
    idle: ["start"],
    connecting: [...socket, ...page, ...check, "missing"],
    live: [...socket, ...page, "absent", "silent"], // where it is present, nothing changes
    retrying: [...page, ...check, "due", "missing"],
    polling: [...socket, ...page, ...check, "back", "due", "missing"],
    gone: [...check, "check due", "stop", "reported missing"],
  };
  for (const state of STATES) {
    const events = new Set(TRANSITIONS.filter(({ from }) => from === state).map(({ on }) => on));
    assert.deepEqual([...events].sort(), answered[state].sort(), state);
  }
});

test("no row is hidden by one before it", () => {
  const seen = new Set();
  for (const { from, on, when } of TRANSITIONS) {
    assert(!seen.has(`${from} ${on}`), `${from} ${on}: a row before it always applies`);
    assert(!seen.has(`${from} ${on} ${when}`), `${from} ${on} [${when}] is there twice`);
    seen.add(when ? `${from} ${on} ${when}` : `${from} ${on}`);
  }
});

test("a state that has no socket leaves none open, and one that is stopped leaves nothing", () => {
  for (const { from, to, effects } of TRANSITIONS) {
    const mayHaveSocket = ["connecting", "live"].includes(from);
    if (mayHaveSocket && ["retrying", "polling"].includes(to)) assert(effects.includes("closeSocket"));
    if (to === "idle" || (to === "gone" && from !== "gone" && from !== "idle")) assert.equal(effects[0], "rest");
    if (to === "live" && from !== "live") assert(effects.includes("stopPolling"));
  }
});

/** Bring a link into the state of a row, with its condition. Questions then wait for their answers. @param {Transition} row */
async function arrange({ from, on, when }) {
  const isLastAttempt = when === null && ["retrying", "gone"].includes(from) && on === "present";
  const world = new World({ attempts: isLastAttempt || (on === "silent" && when === null) ? 1 : undefined });
  if (from === "idle") {
    if (when === "was gone") await world.beGone();
    if (when === null) await world.giveUp();
    world.link.stop();
  } else if (from === "retrying" && (on === "missing" || when === "is polling")) {
    world.goLive();
    world.answer = null;
    await world.pass(SILENCE);
  } else if (isLastAttempt && from === "retrying") {
    world.goLive();
    world.answer = null;
    world.socket.break(MISSING);
  } else {
    await world.enter(from);
  }
  if (from === "polling" && (["message", "closed", "denied"].includes(on) || when === "opening")) {
    if (on !== "back") await openWhilePolling(world);
  }
  if (from === "polling" && (on === "missing" || on === "back")) {
    await world.pass(INTERVAL);
    if (on === "back") world.answer = "failed";
    await world.pass(INTERVAL);
    world.answer = null;
    await world.pass(2 * INTERVAL);
    if (when === "opening") await openWhilePolling(world);
  }
  world.answer = null;
  assert.equal(world.state, from);
  return world;
}

/** @param {World} world */
async function openWhilePolling(world) {
  for (let second = 0; world.openSockets.length === 0; second += 1) {
    assert(second < 40, "no socket is tried");
    await world.pass(1_000);
  }
}

/** @param {World} world @param {import("../../static/js/poller.js").Answer} answer */
async function answerLast(world, answer) {
  const question = world.openQuestions.at(-1);
  assert(question, "nothing is asked");
  question.give(answer);
  await settle();
}

/** @type {Record<import("../../static/js/reconnecting.js").Event, (world: World, row: Transition) => unknown>} */
const FIRE = {
  start: ({ link }) => link.start({ isStale: false }),
  stop: ({ link }) => link.stop(),
  "reported missing": ({ link }) => link.reportMissing(),
  readdress: ({ link }) => link.readdress(),
  message: ({ socket }) => socket.say(),
  closed: ({ socket }, { when }) => socket.break(when ? 1006 : FULL),
  denied: ({ socket }) => socket.break(MISSING),
  silent: (world) => world.pass(SILENCE),
  due: async (world) => {
    const before = world.sockets.length;
    for (let step = 0; world.sockets.length === before && step < 400; step += 1) await world.pass(100);
  },
  "check due": (world) => world.pass(2_000),
  missing: async (world) => {
    if (world.openQuestions.length === 0) await world.pass(INTERVAL);
    await answerLast(world, "missing");
  },
  back: (world) => answerLast(world, "answered"),
  present: async (world) => {
    world.link.reportMissing();
    await answerLast(world, "answered");
  },
  absent: async (world) => {
    world.link.reportMissing();
    await answerLast(world, "missing");
  },
};

for (const row of TRANSITIONS) {
  const { from, on, when, to, effects } = row;
  test(`${from}: ${on}${when ? ` [${when}]` : ""} → ${to}`, async () => {
    const world = await arrange(row);
    const before = { sockets: world.sockets.length, questions: world.questions.length, reachable: world.reachable };
    await FIRE[on](world, row);
    assert.equal(world.state, to);
    const { openSockets, questions, sockets } = world;
    assert.equal(sockets.length - before.sockets, effects.includes("openSocket") ? 1 : 0);
    if (effects.includes("openSocket") || to === "live") assert.equal(openSockets.length, 1);
    if (effects.includes("closeSocket")) assert.equal(openSockets.length, 0);
    if (effects.includes("noteLive")) assert(world.reachable > before.reachable);
    if (effects.includes("noteGone")) assert.equal(world.status, "gone");
    if (effects.includes("checkMissing")) assert(questions.length > before.questions);
    if (effects.includes("pollNow") && from !== "polling") assert(world.openQuestions.length > 0);
    if (effects.includes("rest")) {
      assert.equal(openSockets.length, 0);
      assert.equal(world.openQuestions.length, 0);
      assert.equal(world.clock.pending, effects.includes("checkMissingLater") ? 1 : 0);
    }
    if (effects.includes("pollSoon") || effects.includes("pollNow")) {
      const asked = questions.length;
      await world.pass(INTERVAL);
      assert(questions.length > asked || world.openQuestions.length > 0, "it does not ask");
    }
    if (effects.includes("retryLater") || effects.includes("retrySoon")) {
      const tried = sockets.length;
      await world.pass(effects.includes("retrySoon") ? 6_000 : 30_000);
      assert(sockets.length > tried, "no other socket is tried");
    }
  });
}
